"""Settings: what the environment says, what it may not say, and that the documents say the same."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from workers.settings import Mode, Settings, UpkeepSettings, environment_of

ROOT = Path(__file__).parents[2]
PREFIX = "HOLDFAST_"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)


def test_the_environment_of_a_child_gives_it_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: dict[str, object] = {"api_port": 1234, "development_token": "a token", "fee_basis_points": 7}
    for name, value in environment_of(wanted).items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert (read.api_port, read.fee_basis_points) == (1234, 7)
    assert read.development_token == SecretStr("a token")


def test_a_setting_that_does_not_exist_cannot_be_given_to_a_child() -> None:
    with pytest.raises(AssertionError):
        environment_of({"api_prot": 1})


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2"
    for name in (
        "DATABASE_URL",
        "WORKER_DATABASE_URL",
        "API_DATABASE_URL",
        "UPKEEP_DATABASE_URL",
        "ADMIN_URL",
        "SEAL_KEY",
        "DEVELOPMENT_TOKEN",
        "SIMULATOR_SECRET",
        "WEBHOOK_SECRET",
    ):
        monkeypatch.setenv(f"{PREFIX}{name}", secret)
    assert secret not in repr(Settings())


def test_each_logins_password_is_read_from_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}WORKER_DATABASE_URL", "postgresql://holdfast_worker:p%40ss@db:5432/holdfast")
    assert Settings().database_passwords == {
        "holdfast": "",
        "holdfast_worker": "p@ss",
        "holdfast_api": "",
        "holdfast_upkeep": "",
    }


@pytest.mark.parametrize("name", ["SIMULATOR_SECRET", "WEBHOOK_SECRET"])
def test_live_mode_refuses_the_secrets_of_development(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MODE", "live")
    monkeypatch.setenv(f"{PREFIX}SIMULATOR_SECRET", "one")
    monkeypatch.setenv(f"{PREFIX}WEBHOOK_SECRET", "two")
    assert Settings().mode is Mode.LIVE
    monkeypatch.delenv(f"{PREFIX}{name}")
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_upkeep_goes_live_without_the_secrets_of_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MODE", "live")
    assert UpkeepSettings().mode is Mode.LIVE


@pytest.mark.parametrize(("name", "value"), [
    ("MODE", "production"), ("FEE_BASIS_POINTS", "-1"), ("FEE_BASIS_POINTS", "10001"),
    ("PATIENCE_AUTHORIZE_SECONDS", "0"), ("API_PORT", "eighty"),
])  # fmt: skip
def test_a_value_that_cannot_be_is_refused_at_start(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def _line(name: str, field: FieldInfo) -> str:
    match field.default:
        case None | "":
            default = "–"
        case SecretStr() as secret:
            default = f"`{secret.get_secret_value()}`"
        case value:
            default = f"`{value}`"
    return f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |"


def test_the_documents_list_every_setting_as_it_is() -> None:
    documented = re.findall(rf"^\| `{PREFIX}.*$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert documented == [_line(name, field) for name, field in Settings.model_fields.items()]


def test_the_compose_file_sets_only_what_is_a_setting() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    ours = {name for service in services.values() for name in service.get("environment", {}) if PREFIX in name}
    assert ours
    assert ours <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
