"""The same steps on DBOS, a durable-execution library that keeps its checkpoints in Postgres: prepare, authorize, note.

The activities are Holdfast's own, over the same ledger, rows and simulator; only the engine differs. No update, no
search attributes, no timer of seven days, no queue per provider: DBOS is asked for less, and the table says so.
`python -m bench.dbos_saga DATABASE_URL SERIAL CONCURRENT` prints one line of JSON.
"""

import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

import asyncpg
from dbos import DBOS, DBOSConfig

from activities.books import OurBooks
from adapters.port import PaymentProvider
from domain.commands import Effect, Note, Prepare, Row
from domain.ids import MerchantId, OperationId, Prefix, Reference, derive
from domain.money import Money
from identity.standing import Standings
from ledger.journal import Journal
from records.approvals import Approvals
from records.operations import Operations
from risk.gate import Gate
from workers.providers import ports, wires
from workers.settings import Settings

AT_ONCE = 16
MONEY = Money(1000, "EUR")
_parts: dict[str, Any] = {}


@DBOS.step()
async def prepare(operation: str) -> str:
    """Admission, risk and hold."""
    books: OurBooks = _parts["books"]
    command = Prepare(
        reference=Reference(f"{operation}/hold"), operation=OperationId(operation), client="bench",
        merchant=MerchantId("m_bakery"), provider="simulator", money=MONEY, fingerprint="f",
        admit_until=time.time() + 900, instrument="tok_visa", expires_seconds=604_800,
    )  # fmt: skip
    return (await books.prepare_payment(command)).outcome.value


@DBOS.step()
async def authorize(operation: str) -> str:
    """The provider's effect."""
    port: PaymentProvider = _parts["port"]
    effect = Effect(reference=Reference(f"{operation}.a1"), provider="simulator", money=MONEY, instrument="tok_visa")
    return (await port.authorize(effect)).provider_id


@DBOS.step()
async def note(operation: str, provider_id: str) -> str:
    """The payment's row."""
    books: OurBooks = _parts["books"]
    zero = Money(0, MONEY.currency)
    row = Row(operation=OperationId(operation), state="authorized", amount=MONEY, total=zero, provider_id=provider_id)
    return (await books.note(Note(rows=(row,)))).outcome.value


@DBOS.workflow()
async def authorization(operation: str) -> str:
    """The saga's happy path."""
    await prepare(operation)
    provider_id = await authorize(operation)
    await note(operation, provider_id)
    return provider_id


async def main(url: str, serial: int, concurrent: int) -> dict[str, float]:
    """Measure one after the other, then sixteen at once."""
    settings = Settings()
    opened = wires(settings)
    async with asyncpg.create_pool(settings.database_url.get_secret_value(), min_size=2, max_size=20) as pool:
        _parts["books"] = OurBooks(Journal(pool), Operations(pool), Gate(pool, Standings(pool)), Approvals(pool))
        _parts["port"] = ports(settings, opened)["simulator"]
        run = f"dbos-{time.time_ns()}"
        for number in range(10):
            await authorization(_id(run, f"warm{number}"))
        laps: list[float] = []
        for number in range(serial):
            began = time.perf_counter()
            await authorization(_id(run, f"serial{number}"))
            laps.append((time.perf_counter() - began) * 1000)
        gate, began, cpu = asyncio.Semaphore(AT_ONCE), time.perf_counter(), _cpu()

        async def one(number: int) -> None:
            async with gate:
                await authorization(_id(run, f"wide{number}"))

        await asyncio.gather(*(one(number) for number in range(concurrent)))
        seconds = time.perf_counter() - began
        laps.sort()
    return {
        "p50_ms": laps[len(laps) // 2],
        "per_second": concurrent / seconds,
        "cpu_ms": (_cpu() - cpu) * 1000 / concurrent,
    }


def _id(run: str, key: str) -> str:
    return derive(Prefix.PAYMENT, client=run, mode="test", operation="bench", key=key)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    database = sys.argv[1]
    config: DBOSConfig = {"name": "bench", "system_database_url": database, "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    print(json.dumps(asyncio.run(main(database, int(sys.argv[2]), int(sys.argv[3])))))
    sys.stdout.flush()
    os._exit(0)
