"""The composition root: the only place where every part meets its counterparts."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.common import VersioningBehavior
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from activities.books import OurBooks
from activities.provider import ProviderCalls
from activities.upkeep import LedgerUpkeep
from adapters.port import PaymentProvider
from contracts import queues
from contracts import upkeep as upkeep_contract
from contracts.books import Books
from contracts.payloads import DATA_CONVERTER
from contracts.provider import Provider
from identity.standing import Standings
from ledger.journal import Journal
from ledger.months import Months
from records.approvals import Approvals
from records.calls import CallJournal
from records.claims import Claims
from records.operations import Operations
from risk.gate import Gate
from workers import deployment, durability, ledger_upkeep
from workers.sandbox import SANDBOX
from workers.settings import Settings
from workflows.dispute import DisputeWorkflow
from workflows.late import LateWorkflow
from workflows.payment import PaymentWorkflow
from workflows.payout import PayoutWorkflow
from workflows.refund import RefundWorkflow
from workflows.sweep import PayoutBatch, PayoutSweep
from workflows.upkeep import WORKFLOWS as UPKEEP_WORKFLOWS

WORKFLOWS = (PaymentWorkflow, RefundWorkflow, PayoutWorkflow, DisputeWorkflow, LateWorkflow, PayoutSweep, PayoutBatch)
ARCHIVIST = "upkeep"  # whom the audit names where no person asked
SESSION = {"application_name": "holdfast", "default_transaction_isolation": "read committed"}


@asynccontextmanager
async def database(url: SecretStr, settings: Settings) -> AsyncGenerator[asyncpg.Pool]:
    """Open this process's pool under its own login; raises `NotDurable` where real money may not be booked there."""
    async with asyncpg.create_pool(
        url.get_secret_value(),
        min_size=2,
        max_size=settings.database_connections,
        reset=_nothing_to_reset,
        command_timeout=10,  # seconds: what takes longer is stuck, and is asked again under the same reference
        server_settings=SESSION,
    ) as pool:
        await durability.require(pool, settings.mode)
        yield pool


@asynccontextmanager
async def upkeep_database(settings: Settings) -> AsyncGenerator[asyncpg.Pool]:
    """Open the pool of upkeep, whose statements may read the whole book and take as long as that takes."""
    async with asyncpg.create_pool(
        settings.upkeep_database_url.get_secret_value(), min_size=1, max_size=8, server_settings=SESSION
    ) as pool:
        await durability.require(pool, settings.mode)
        yield pool


async def _nothing_to_reset(_connection: object) -> None:
    """Save a round trip per use: every use is one statement, which leaves no session state behind."""


async def temporal(settings: Settings) -> Client:
    """Connect to the engine as every process of Holdfast does."""
    return await Client.connect(
        settings.temporal_target, namespace=settings.temporal_namespace, data_converter=DATA_CONVERTER
    )


@dataclass(frozen=True)
class Carried:
    """The contracts carried out."""

    books: OurBooks
    provider: ProviderCalls


def carried(pool: asyncpg.Pool, ports: Mapping[str, PaymentProvider]) -> Carried:
    """Carry the contracts out over a database and providers."""
    return Carried(
        books=OurBooks(Journal(pool), Operations(pool), Gate(pool, Standings(pool)), Approvals(pool)),
        provider=ProviderCalls(ports, CallJournal(pool)),
    )


def of_books(books: Books) -> list[Callable[..., Any]]:
    """The activities of our own books, which the queue of the runs serves."""
    return [
        books.prepare_payment,
        books.prepare_refund,
        books.prepare_payout,
        books.prepare_increment,
        books.prepare_dispute,
        books.release,
        books.book_capture,
        books.book_refund,
        books.book_payout_accepted,
        books.book_payout_paid,
        books.book_payout_failed,
        books.book_capture_failed,
        books.book_refund_failed,
        books.book_payout_returned,
        books.book_withdrawn,
        books.book_dispute_won,
        books.book_dispute_lost,
        books.available,
        books.stands,
        books.sent,
        books.check_approvals,
        books.note,
    ]


def of_effects(provider: Provider) -> list[Callable[..., Any]]:
    """The activities that a provider's queue of effects serves."""
    return [
        provider.authorize,
        provider.capture,
        provider.refund,
        provider.pay_out,
        provider.increment,
        provider.recall,
    ]


def of_repair(provider: Provider) -> list[Callable[..., Any]]:
    """The activities that its queue of undos and inquiries serves."""
    return [provider.void, provider.inquire]


def workers(client: Client, settings: Settings, parts: Carried, places: Mapping[str, int]) -> list[Worker]:
    """The workers of one process: one for runs and books, two per provider, for effects and for repair.

    `places` says per provider how many of its calls may be on the wire at once.
    """
    polls = PollerBehaviorSimpleMaximum(settings.polls)
    graceful = timedelta(seconds=settings.graceful_shutdown_seconds)
    build = deployment.config(settings, VersioningBehavior.PINNED)
    books, provider = parts.books, parts.provider
    made = [
        Worker(
            client,
            task_queue=queues.PAYMENTS,
            workflows=WORKFLOWS,
            activities=of_books(books),
            workflow_runner=SANDBOX,
            workflow_failure_exception_types=[],  # a bug fails the task, never the run
            max_cached_workflows=settings.cached_workflows,
            max_concurrent_workflow_tasks=settings.workflow_tasks,
            max_concurrent_activities=settings.activities,
            workflow_task_poller_behavior=polls,
            activity_task_poller_behavior=polls,
            # A worker that is gone leaves its runs' tasks to others after so long; the default is ten seconds.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
            graceful_shutdown_timeout=graceful,
            deployment_config=build,
        )
    ]
    for name, at_once in places.items():
        for queue, activities in (
            (queues.effects(name), of_effects(provider)),
            (queues.repair(name), of_repair(provider)),
        ):
            made.append(
                Worker(
                    client,
                    task_queue=queue,
                    activities=activities,
                    max_concurrent_activities=at_once,
                    activity_task_poller_behavior=polls,
                    graceful_shutdown_timeout=graceful,
                    deployment_config=build,
                )
            )
    return made


def upkeep(pool: asyncpg.Pool, settings: Settings) -> LedgerUpkeep:
    """Carry upkeep out over a database. Raises `NoSealKey` and `BadSealKey`."""
    return LedgerUpkeep(
        months=Months(pool),
        sealer=ledger_upkeep.sealer(pool, settings),
        verifier=ledger_upkeep.verifier(pool, settings),
        archivist=ledger_upkeep.archive(pool, settings, ARCHIVIST),
        archive_after=settings.archive_after_months,
        claims=Claims(pool),
    )


def upkeep_worker(client: Client, settings: Settings, upkeep: LedgerUpkeep) -> Worker:
    """The worker of upkeep: a handful of runs a day, none of which anybody waits for."""
    return Worker(
        client,
        task_queue=upkeep_contract.QUEUE,
        workflows=UPKEEP_WORKFLOWS,
        activities=[upkeep.ensure_months, upkeep.seal, upkeep.verify, upkeep.archive, upkeep.purge_claims],
        workflow_runner=SANDBOX,
        workflow_failure_exception_types=[],  # a bug fails the task, never the run
        max_cached_workflows=20,  # each lives for one activity
        max_concurrent_activities=5,  # one of each task: more would only wait for the same disk
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        deployment_config=deployment.config(settings, VersioningBehavior.AUTO_UPGRADE),  # runs are short, and repeat
    )
