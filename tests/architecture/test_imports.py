"""Who may import whom, and what things are called: rules worth saying twice are tests."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support import currencies

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
OUTSIDE = {"bench", "tests"}  # they may import everything, and nothing of ours imports them
MODULES = sorted(file for package in [*PACKAGES, *OUTSIDE] for file in (ROOT / package).rglob("*.py"))
EMPTY_NAMES = {"util", "utils", "common", "helper", "helpers", "model", "models", "manager", "managers", "base", "misc"}
EMPTY_ENDINGS = ("Manager", "Helper", "Util", "Utils", "Service", "Processor")

# Brought by temporalio, fastapi and pydantic, whose own interfaces show them.
SHOWN = {"google", "pydantic_core", "starlette"}


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _imported(file: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import():
                names |= {alias.name.split(".")[0] for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                names.add(module.split(".")[0])
            case _:
                pass
    return names


def test_the_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_import_contracts_know_every_package() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    assert contracts["importlinter"]["root_packages"].split() == sorted(PACKAGES)


def test_every_folder_with_code_is_a_declared_package() -> None:
    folders = {file.parent.name for file in ROOT.glob("*/*.py")}
    assert folders - OUTSIDE == set(PACKAGES)


def test_nothing_of_ours_imports_tests_or_bench() -> None:
    strangers = [_name(file) for file in MODULES if _name(file).split("/")[0] in PACKAGES and _imported(file) & OUTSIDE]
    assert strangers == []


def test_no_installed_package_carries_one_of_our_names() -> None:
    owners = packages_distributions()
    foreign = {package: set(owners.get(package, [])) - {"holdfast"} for package in PACKAGES}
    assert {package: owner for package, owner in foreign.items() if owner} == {}


def test_what_is_imported_is_declared() -> None:
    owners = packages_distributions()
    declared = {_distribution(line) for line in PROJECT["project"]["dependencies"]}
    used = {name for file in MODULES if _name(file).split("/")[0] in PACKAGES for name in _imported(file)}
    needed = {name for name in used - set(PACKAGES) - set(sys.stdlib_module_names) if name not in SHOWN}
    undeclared = {name for name in needed if not {owner.lower() for owner in owners.get(name, [name])} & declared}
    assert undeclared == set()


def _distribution(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


@pytest.mark.parametrize("file", [file for file in MODULES if file.read_text().strip()], ids=_name)
def test_a_module_says_first_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text())), "its first line tells what it is responsible for"


def test_no_module_or_class_has_an_empty_name() -> None:
    modules = [_name(file) for file in MODULES if file.stem.removeprefix("test_") in EMPTY_NAMES]
    classes = [
        f"{_name(file)}: {node.name}"
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_ENDINGS)
    ]
    assert modules + classes == []


def test_the_currencies_are_those_of_the_pinned_package() -> None:
    assert currencies.TARGET.read_text() == currencies.text(), "run `make generate`"


def test_test_files_have_names_of_their_own() -> None:
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_test_folders_are_named_by_kind_and_are_no_packages() -> None:
    assert [_name(file) for file in (ROOT / "tests").rglob("__init__.py")] == ["tests/__init__.py"]
    folders = {folder.name for folder in (ROOT / "tests").iterdir() if folder.is_dir()}
    assert folders & set(PACKAGES) == set()
