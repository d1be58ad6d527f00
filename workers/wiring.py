"""The composition root: the only place where every part meets its counterpart."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from activities.books import OurBooks
from activities.provider import ProviderCalls
from adapters.port import PaymentProvider
from adapters.profile import Profile
from contracts import queues
from domain.commands import Promises
from ledger.journal import Journal
from records.calls import CallJournal
from records.operations import Operations
from risk.rules import EMPTY
from workers.providers import providers
from workers.sandbox import SANDBOX
from workers.settings import Settings
from workflows.payment import PaymentWorkflow
from workflows.payout import PayoutWorkflow
from workflows.refund import RefundWorkflow

WORKFLOWS = (PaymentWorkflow, RefundWorkflow, PayoutWorkflow)


@asynccontextmanager
async def database(settings: Settings) -> AsyncGenerator[asyncpg.Pool]:
    """Open the pool of this process, on the primary and as role `holdfast`."""
    async with asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=2,
        max_size=settings.database_connections,
        command_timeout=10,
        server_settings={"application_name": "holdfast", "default_transaction_isolation": "read committed"},
    ) as pool:
        yield pool
