"""Settings: one table, read from the environment (`HOLDFAST_…`) and documented in docs/operations.md.

Knows no process: what a setting is good for is the business of whoever reads it.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.commands import Patience

KNOWN_TO_ALL = "development"  # the value of each secret until another is set; it protects nothing
SECRETS = ("simulator_secret", "webhook_secret")


class Mode(StrEnum):
    """Whether money is real."""

    DEVELOPMENT = "development"
    LIVE = "live"


class Settings(BaseSettings):
    """What a process of Holdfast needs to know. Each field's description is its line in the documents."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", frozen=True, extra="ignore", hide_input_in_errors=True)

    mode: Mode = Field(
        default=Mode.DEVELOPMENT, description="`development` or `live`; live refuses the development client"
    )
    log_level: str = Field(default="INFO", description="least level that is logged")

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://holdfast@127.0.0.1:5433/holdfast"),
        description="the database, as role `holdfast`: for commands at a prompt",
    )
    worker_database_url: SecretStr = Field(
        default=SecretStr("postgresql://holdfast_worker@127.0.0.1:5433/holdfast"),
        description="the database, as role `holdfast_worker`, which posts and cannot read the ledger",
    )
    api_database_url: SecretStr = Field(
        default=SecretStr("postgresql://holdfast_api@127.0.0.1:5433/holdfast"),
        description="the database, as role `holdfast_api`, which reads balances and cannot post",
    )
    upkeep_database_url: SecretStr = Field(
        default=SecretStr("postgresql://holdfast_upkeep@127.0.0.1:5433/holdfast"),
        description="the database, as role `holdfast_upkeep`, which seals, verifies and archives",
    )
    admin_url: SecretStr | None = Field(
        default=None, description="the database, as a superuser; `holdfast migrate` alone needs it"
    )
    database_connections: int = Field(default=20, description="connections per process; more only wait for the disk")
    temporal_target: str = Field(default="127.0.0.1:7233", description="host and port of the Temporal frontend")
    temporal_namespace: str = Field(default="default", description="the namespace that the runs live in")
    deployment_name: str = Field(
        default="holdfast",
        description="what all builds of this installation are called together at Temporal",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",  # Temporal joins it and the build id by `:` or `.`
    )
    build_id: str = Field(
        default="",
        description="what this build is called, e.g. its commit; without one runs are not pinned to their build",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$",
    )

    api_host: str = Field(
        default="127.0.0.1", description="where the API listens; the development client is refused beyond loopback"
    )
    api_port: int = Field(default=8080, description="the API's port")
    development_token: SecretStr | None = Field(
        default=None, description="bearer token of the development client; refused when live or beyond loopback"
    )
    operators: str = Field(
        default="",
        description="who operates: name and SHA-256 of a token each, separated by commas (`holdfast new-operator`)",
    )
    api_url: str = Field(
        default="", description="where operators' commands find the API; unset: this machine, at the API's port"
    )

    simulator_url: str = Field(default="http://127.0.0.1:8090", description="where the provider simulator listens")
    simulator_secret: SecretStr = Field(default=SecretStr(KNOWN_TO_ALL), description="bearer token for the simulator")
    simulator_b_url: str = Field(
        default="",
        description="where a second account with the simulator is, asked after the first; empty: there is none",
    )
    simulator_horizon_seconds: float = Field(
        default=10, description="late-effect horizon of the simulator: how late an effect may appear after we gave up"
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(KNOWN_TO_ALL), description="key of the simulator's webhook signatures"
    )

    seal_key: SecretStr | None = Field(
        default=None, description="private key that signs seals (`holdfast ledger new-seal-key`); upkeep alone needs it"
    )
    seal_public_keys: str = Field(
        default="", description="public keys of all seals so far, separated by commas: what verify trusts"
    )
    seal_file: Path = Field(
        default=Path("seals.jsonl"),
        description="file, off the database, that each seal is also added to: it proves that none is missing",
    )
    archive_directory: Path = Field(default=Path("archive"), description="where archived months of the ledger go")
    archive_after_months: int = Field(
        default=0, description="months after which a month of the ledger is archived; 0: never by itself", ge=0
    )

    fee_basis_points: int = Field(
        default=100, description="our fee, in hundredths of a percent of each capture", ge=0, le=10_000
    )
    authorization_window_seconds: float = Field(
        default=7 * 86_400, description="how long an authorization may stand; card schemes give seven days", gt=0
    )
    authorization_warning_seconds: float = Field(
        default=86_400,
        description="how long before an authorization's end its initiator is warned; a working day to ship, or void",
        ge=0,
    )
    attention_after_seconds: float = Field(
        default=900, description="when a doubt, or an undo without an answer, calls for a person", gt=0
    )
    patience_authorize_seconds: float = Field(
        default=10, description="how long an authorization is sent again: later the payer may have paid otherwise", gt=0
    )
    patience_automatic_capture_seconds: float = Field(
        default=600, description="how long an automatic capture is sent again: taken soon, or given up", gt=0
    )
    patience_as_asked_seconds: float = Field(
        default=3600,
        description="how long a capture, refund or payout is sent again: an outage ends, or a person looks",
        gt=0,
    )

    workflow_tasks: int = Field(default=100, description="workflow tasks at once per worker process")
    activities: int = Field(default=100, description="activities of our own books at once per worker process")
    cached_workflows: int = Field(
        default=2000, description="runs kept in a worker's memory; fewer means replaying them"
    )
    polls: int = Field(default=20, description="polls at once per queue; fewer than 20 add milliseconds to each step")
    graceful_shutdown_seconds: float = Field(
        default=10,
        description="what a worker that is asked to stop gives the calls on its wire; above a provider's deadline",
    )

    @property
    def database_passwords(self) -> Mapping[str, str]:
        """The password in each address of the database, by login role: what `holdfast migrate` gives the roles."""
        urls = (self.database_url, self.worker_database_url, self.api_database_url, self.upkeep_database_url)
        parts = [urlsplit(url.get_secret_value()) for url in urls]
        return {unquote(part.username or ""): unquote(part.password or "") for part in parts}

    @property
    def patience(self) -> Patience:
        """How long each kind of operation is sent again (money rule 5)."""
        return Patience(
            authorize=self.patience_authorize_seconds,
            automatic_capture=self.patience_automatic_capture_seconds,
            as_asked=self.patience_as_asked_seconds,
        )

    @model_validator(mode="after")
    def _live_secrets_are_not_those_of_development(self) -> Self:
        if self.mode is Mode.LIVE:
            known = [name for name in SECRETS if getattr(self, name).get_secret_value() == KNOWN_TO_ALL]
            if known:
                raise ValueError(f"live mode needs secrets of its own: {', '.join(known)}")
        return self


class UpkeepSettings(Settings):
    """What upkeep needs to know: it talks to no provider, so it is given none of the secrets for that."""

    @model_validator(mode="after")
    def _live_secrets_are_not_those_of_development(self) -> Self:
        return self


def environment_of(values: dict[str, object]) -> dict[str, str]:
    """The environment that gives a child process these settings."""
    unknown = values.keys() - Settings.model_fields.keys()
    assert not unknown, unknown
    return {f"HOLDFAST_{name.upper()}": str(value) for name, value in values.items()}
