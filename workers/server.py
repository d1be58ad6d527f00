"""The API process: wires the edge to the books and the engine, and serves it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import asyncpg
import structlog
import uvicorn
from fastapi import FastAPI
from temporalio.client import Client

from api import ports
from api.app import build, build_closed
from api.audit import LoggedAudit
from api.parked import TemporalParked
from api.runs import TemporalRuns
from domain.errors import Unavailable
from domain.ids import ClientId, OperationId
from identity import operators
from identity.clients import Client as Initiator
from identity.clients import Clients, NoClients, Scope, StaticClients
from identity.policy import require_development
from ledger.journal import Journal
from observability.logging import configure
from records import claims as kept
from records.approvals import Approvals
from records.claims import Claims
from records.inbox import Inbox
from records.operations import Operations
from workers.providers import Check, routes, webhook_checks
from workers.settings import Mode, Settings
from workers.wiring import database, temporal

DEVELOPMENT_CLIENT = ClientId("development")
CANNOT_ANSWER_NOW = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # it starts, recovers, or shuts down
    asyncpg.InsufficientResourcesError,  # its disk is full, or it has no place for another connection
)
T = TypeVar("T")

log = structlog.get_logger()


async def main() -> None:
    """Serve until SIGTERM or SIGINT; requests that are being answered are answered first."""
    settings = Settings()
    configure("api", settings.log_level)
    async with AsyncExitStack() as stack:
        if settings.development_token is None and not settings.operators:
            app = build_closed()
            log.warning("api.closed", why="no credentials are configured: only /healthz is answered")
        else:
            credentials = clients_of(settings), operators.parse(settings.operators)  # refused before anything is opened
            pool = await stack.enter_async_context(database(settings.api_database_url, settings))
            app = open_app(settings, *credentials, pool, await temporal(settings))
        config = uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(settings.graceful_shutdown_seconds),
        )
        await uvicorn.Server(config).serve()


def open_app(
    settings: Settings, clients: Clients, people: operators.Operators, pool: asyncpg.Pool, client: Client
) -> FastAPI:
    """Build the API over a database and an engine."""
    first, *others = routes(settings)
    return build(
        ports.Dependencies(
            clients=clients,
            operators=people,
            claims=KeptClaims(Claims(pool)),
            reads=available(Operations(pool)),
            balances=available(Journal(pool)),
            inbox=KeptInbox(Inbox(pool)),
            webhooks=Webhooks(webhook_checks(settings)),
            runs=TemporalRuns(client),
            parked=TemporalParked(client),
            approvals=available(Approvals(pool)),
            audit=LoggedAudit(),
            terms=ports.Terms(
                promises=first,
                routes=tuple(others),
                window_seconds=settings.authorization_window_seconds,
                warning_seconds=settings.authorization_warning_seconds,
                fee_basis_points=settings.fee_basis_points,
                mode="live" if settings.mode is Mode.LIVE else "test",
            ),
            probes={
                "database": lambda: pool.fetchval("SELECT 1"),
                "engine": client.service_client.check_health,
            },
        )
    )


def clients_of(settings: Settings) -> Clients:
    """The development client; without one nobody, and the API is for operators and providers alone.

    Raises `StaticClientRefused` where the development client may not be used.
    """
    if settings.development_token is None:
        return NoClients()
    require_development(host=settings.api_host, mode=settings.mode)
    initiator = Initiator(id=DEVELOPMENT_CLIENT, scopes=frozenset(Scope))
    return StaticClients(settings.development_token.get_secret_value(), initiator)


class KeptClaims:
    """The claims of `records` in the API's words."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    async def claim(
        self,
        client: ClientId,
        mode: str,
        key: str,
        operation: str,
        fingerprint: bytes,
        resource: OperationId,
        lease_seconds: float,
    ) -> ports.Claimed | ports.InFlight | ports.StoredAnswer | ports.Mismatch:
        """See `ports.Claims`."""
        asked = self._claims.claim(client, mode, key, operation, fingerprint, resource, lease_seconds)
        match await reached(asked):
            case kept.Claimed() as mine:
                return ports.Claimed(
                    fence=mine.fence,
                    created_at=mine.created_at,
                    lease_until=mine.lease_until,
                    taken_over=mine.taken_over,
                )
            case kept.InFlight(retry_after_seconds=after):
                return ports.InFlight(retry_after_seconds=after)
            case kept.StoredAnswer() as stored:
                return _stored(stored)
            case kept.Mismatch():
                return ports.Mismatch()

    async def finish(
        self, client: ClientId, mode: str, key: str, fence: int, status: int, headers: Mapping[str, str], body: bytes
    ) -> ports.StoredAnswer | None:
        """See `ports.Claims`."""
        stored = await reached(self._claims.finish(client, mode, key, fence, status, headers, body))
        return _stored(stored) if stored else None

    async def release(self, client: ClientId, mode: str, key: str, fence: int) -> None:
        """See `ports.Claims`."""
        await reached(self._claims.release(client, mode, key, fence))


class KeptInbox:
    """The inbox of `records` in the API's words."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def receive(self, provider: str, event_id: str, raw: bytes) -> ports.Received:
        """See `ports.Inbox`."""
        return ports.Received(await reached(self._inbox.receive(provider, event_id, raw)))


class Webhooks:
    """The signature checks of the providers that send webhooks."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    def event_id(self, provider: str, raw: bytes, headers: Mapping[str, str]) -> str | None:
        """See `ports.WebhookCheck`."""
        return self._checks[provider](raw, headers)


def _stored(stored: kept.StoredAnswer) -> ports.StoredAnswer:
    return ports.StoredAnswer(status=stored.status, headers=stored.headers, body=stored.body)


async def reached(asked: Awaitable[T]) -> T:
    """Say a database that cannot be reached as what it means here: nothing was done, ask again."""
    try:
        return await asked
    except CANNOT_ANSWER_NOW as failure:
        raise Unavailable(f"the database does not answer: {failure}") from failure


def available(store: T) -> T:
    """Let every method of a store say an unreachable database as `Unavailable`."""

    class Reached:
        def __getattr__(self, name: str) -> Any:
            method = getattr(store, name)

            async def call(*arguments: Any, **named: Any) -> Any:
                return await reached(method(*arguments, **named))

            return call

    store_reached: Any = Reached()
    return store_reached


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the Temporal client can abort at interpreter exit
