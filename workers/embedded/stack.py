"""Where everything of a running stack is: `.holdfast/stack.json`, for people and programs; its owner alone reads it.

Beside it, each for its owner alone too: the settings of its processes, and the tokens of its operators.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Stack:
    """The addresses of a running stack."""

    api: str
    simulator: str
    temporal: str
    temporal_ui: str
    postgres: str  # the superuser's address of the development database
    token: str  # of the development client
    pids: dict[str, int] = field(default_factory=dict[str, int])

    def write(self, home: Path) -> None:
        """Write it whole or not at all."""
        write_private(_file(home), json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, home: Path) -> "Stack":
        """Read what is written of a running stack; raises FileNotFoundError where there is none."""
        return cls(**json.loads(_file(home).read_text()))

    @property
    def places(self) -> dict[str, str]:
        """What a person wants to know of it; the secrets stay in the file."""
        postgres = self.postgres.rpartition("@")[2]
        return {"API": self.api, "Temporal UI": self.temporal_ui, "simulator": self.simulator, "Postgres": postgres}


def forget(home: Path) -> None:
    """Remove what is written of a stack that is being stopped."""
    _file(home).unlink(missing_ok=True)
    _settings(home).unlink(missing_ok=True)
    operators_file(home).unlink(missing_ok=True)


def write_operators(home: Path, tokens: Mapping[str, str]) -> None:
    """Write the tokens of the stack's operators down, by name: in development one person plays two."""
    write_private(operators_file(home), json.dumps(dict(tokens), indent=2) + "\n")


def read_operators(home: Path) -> dict[str, str]:
    """Read the tokens of the stack's operators, by name; empty where none runs."""
    try:
        tokens: dict[str, str] = json.loads(operators_file(home).read_text())
    except FileNotFoundError:
        return {}
    return tokens


def operators_file(home: Path) -> Path:
    """Where the tokens of the stack's operators are."""
    return home / "operators.json"


def write_settings(home: Path, settings: Mapping[str, str]) -> None:
    """Write the settings of the stack's own processes down, for others that are started by hand beside them."""
    write_private(_settings(home), "".join(f"{name}={value}\n" for name, value in settings.items()))


def read_settings(home: Path) -> dict[str, str]:
    """Read the settings of the stack's own processes; empty where none runs."""
    try:
        lines = _settings(home).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines)


def _file(home: Path) -> Path:
    return home / "stack.json"


def _settings(home: Path) -> Path:
    return home / "settings.env"


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, for its owner alone to read."""
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.rename(file)
