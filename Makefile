# Holdfast. `make` alone tells what there is. Needs python3 (3.11 or newer) and make; everything else is set up here.
SHELL := /bin/sh
PYTHON ?= python3
UV := .venv/bin/uv
UV_VERSION := 0.13.9
RUN := .venv/bin/python -m
HOLDFAST := .venv/bin/holdfast
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo up down test check format generate grid sim chaos histories released bench clean
.DEFAULT_GOAL := help

help: ## Say what there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: .venv/.ready ## Make the environment: venv, locked dependencies

.venv/.ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Holdfast needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 setup"; exit 1; }
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "python3 cannot make a venv. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@test -x $(UV) || .venv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) sync --quiet --locked --python .venv/bin/python
	@touch .venv/.ready

demo: setup ## Start everything, make payments, show the books (KEEP=1 leaves it running)
	@$(HOLDFAST) up --demo $(if $(KEEP),--keep)

up: setup ## Start everything and leave it running
	@$(HOLDFAST) up --keep

down: setup ## Stop what `make up` or `KEEP=1 make demo` left running
	@$(HOLDFAST) down

test: setup ## All tests, against the real Postgres, Temporal and simulator
	@$(RUN) pytest -q

check: setup ## Format, lint, types, import contracts, spelling
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/lint-imports
	@.venv/bin/pyright --warnings
	@.venv/bin/codespell

format: setup ## Write the formatting that `check` asks for
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

generate: setup ## Write what is generated from the code: currencies, documents, the OpenAPI document
	@$(RUN) tests.support.currencies
	@$(RUN) tests.support.docs
	@$(RUN) tests.support.ledger_docs
	@$(RUN) tests.support.risk_docs
	@$(RUN) tests.support.openapi

grid: setup ## Write the golden texts of the saga grids anew; read the diff line by line
	@GRID=write $(RUN) pytest -q tests/saga/test_grids.py

sim: setup ## Search schedules of faults for the one that breaks an invariant, and kill every mutant (MINUTES=5 SEED=n)
	@$(RUN) tests.simulation search $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

chaos: setup ## Kill, freeze, cut off and fill up what runs while shops buy; audit what is left (PAYMENTS=1000, SEED=n)
	@$(RUN) tests.chaos.soak $(PAYMENTS)

histories: setup ## Record the replay corpus anew, from the code as it is
	@$(RUN) tests.replay.record

released: setup ## Keep a database of this release, with data in it, for later ones to migrate; once, at the release
	@$(RUN) tests.support.released

bench: setup ## Measure, each figure beside its floor (ONLY=saga or ledger)
	@$(RUN) bench $(ONLY)

clean: ## Stop what runs, and remove everything that was made here
	@test ! -x $(HOLDFAST) || $(HOLDFAST) down
	rm -rf .holdfast .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
