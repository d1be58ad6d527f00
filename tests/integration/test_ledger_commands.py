"""`holdfast ledger …` against a real book: what people read, what programs read, and the exit codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from domain.errors import HoldfastError, InstantArchived
from domain.ids import MerchantId, Prefix
from domain.money import Money
from ledger.journal import Journal
from ledger.seal_keys import SealKey
from tests.support.cluster import Database, TestCluster
from tests.support.ledger_flows import Flows, operation
from workers import prompt
from workers.command_line import application
from workers.settings import environment_of

flows = Flows(merchant=MerchantId("m_bakery"))
PAYABLE = "merchant:m_bakery:payable"
PAYMENT, CAPTURE, PAYOUT = (
    operation(Prefix.PAYMENT, "cli"),
    operation(Prefix.CAPTURE, "cli"),
    operation(Prefix.PAYOUT, "cli"),
)


class Ran:
    """What a command has printed, and its exit code."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    @property
    def json(self) -> Any:
        return json.loads(self.text)


Run = Callable[..., Awaitable[Ran]]


@pytest_asyncio.fixture
async def run(
    database: Database, cluster: TestCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: asyncpg.Pool
) -> Run:
    """Run a command over a book with three top-ups, a hold, a capture and a standing payout."""
    monkeypatch.setattr(prompt, "home_of", lambda: tmp_path)
    key = SealKey.generate()
    settings = environment_of(
        {
            "database_url": database.url,
            "upkeep_database_url": cluster.cluster.url(
                database.name, user="holdfast_upkeep", password=cluster.password
            ),
            "seal_key": key.text,
            "seal_public_keys": key.public.text,
            "seal_file": tmp_path / "seals.jsonl",
            "archive_directory": tmp_path / "archive",
        }
    )
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    journal = Journal(pool)
    for entry in (
        flows.top_up("one", Money(10_050, "EUR")),
        flows.top_up("two", Money(500, "JPY")),
        flows.top_up("three", Money(1_234, "KWD")),
        flows.hold(PAYMENT, Money(4_000, "EUR")),
        flows.capture(CAPTURE, PAYMENT, Money(4_000, "EUR"), fee=Money(40, "EUR"), final=True),
        flows.payout_reserve(PAYOUT, Money(2_000, "EUR")),
    ):
        assert (await journal.post(entry)).stands, entry.reference

    async def invoke(*words: str) -> Ran:
        result = await asyncio.to_thread(CliRunner().invoke, application, ["ledger", *words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.output)

    return invoke


async def test_a_balance_is_told_in_major_units_with_what_is_available(run: Run) -> None:
    told = await run("balance", PAYABLE, "eur")
    assert told.code == 0
    assert "-100.50 EUR" in told.text
    assert "80.50 EUR" in told.text  # 20.00 are reserved for the payout


async def test_a_balance_in_json_is_in_minor_units(run: Run) -> None:
    read = (await run("balance", PAYABLE, "KWD", "--json")).json
    assert (read["posted"], read["available"], read["currency"]) == (-1_234, 1_234, "KWD")


async def test_a_balance_is_told_as_it_stood(run: Run, pool: asyncpg.Pool) -> None:
    before = datetime.now(UTC)
    await Journal(pool).post(flows.top_up("later", Money(1, "EUR")))
    assert (await run("balance", PAYABLE, "EUR", "--as-of", before.isoformat(), "--json")).json["posted"] == -10_050
    assert (await run("balance", PAYABLE, "EUR", "--json")).json["posted"] == -10_051
    long_ago = (before - timedelta(days=1)).isoformat()
    assert (await run("balance", PAYABLE, "EUR", "--effective-until", long_ago, "--json")).json["posted"] == 0


async def test_an_account_that_is_not_there_is_no_zero(run: Run) -> None:
    with pytest.raises(HoldfastError, match="there is no account merchant:m_bikes:payable in EUR"):
        await run("balance", "merchant:m_bikes:payable", "EUR")


@pytest.mark.parametrize(
    "words",
    [
        ("balance", PAYABLE, "XXX"),
        ("balance", PAYABLE, "EUR", "--as-of", "yesterday"),
        ("balance", PAYABLE, "EUR", "--as-of", "2026-01-01", "--effective-until", "2026-01-01"),
        ("statement", PAYABLE, "EUR", "--after", "here"),
        ("archive", "January"),
    ],
)
async def test_what_is_asked_wrongly_ends_with_two(words: tuple[str, ...], run: Run) -> None:
    assert (await run(*words)).code == 2


async def test_a_statement_is_read_page_by_page_without_a_gap(run: Run, pool: asyncpg.Pool) -> None:
    for number in range(5):
        await Journal(pool).post(flows.top_up(f"page {number}", Money(1, "EUR")))
    lines: list[dict[str, Any]] = []
    after: list[str] = []
    while True:
        page = (await run("statement", PAYABLE, "EUR", "--limit", "3", "--json", *after)).json
        lines += page["lines"]
        if not page["more"]:
            break
        after = ["--after", page["more"]]
    assert [line["version"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["posted_after"] == -10_055
    told = await run("statement", PAYABLE, "EUR", "--limit", "3")
    assert "more: --after " in told.text
    assert "bank:one/top-up" in told.text


async def test_a_trial_balance_sums_to_zero_in_each_currency(run: Run) -> None:
    told = await run("trial-balance")
    assert told.code == 0
    read = (await run("trial-balance", "--json")).json
    assert read["sums"] == {"EUR": 0, "JPY": 0, "KWD": 0}
    only = (await run("trial-balance", "merchant:", "--currency", "EUR", "--json")).json
    assert {each["code"] for each in only["accounts"]} == {PAYABLE, "merchant:m_bakery:unsettled"}
    assert set(only["sums"]) == {"EUR"}


async def test_a_merchant_that_owes_us_is_marked(run: Run, pool: asyncpg.Pool) -> None:
    assert "owes us" not in (await run("trial-balance")).text
    await Journal(pool).post(flows.funds_withdrawn("lost", PAYMENT, Money(30_000, "EUR")))
    await Journal(pool).post(flows.dispute_lost("lost-2", "lost", PAYMENT, Money(30_000, "EUR")))
    told = (await run("trial-balance")).text
    assert "m_bakery owes us 159.90 EUR" in told  # 300.00 less 39.60 unsettled and 100.50 payable


async def test_a_book_that_does_not_sum_to_zero_ends_with_one(run: Run, admin_pool: asyncpg.Pool) -> None:
    await admin_pool.execute("UPDATE ledger.balance SET posted = posted + 1 WHERE currency = 'JPY' AND posted > 0")
    assert (await run("trial-balance")).code == 1
    assert (await run("trial-balance", "--currency", "EUR")).code == 0


async def test_a_sound_book_is_verified_with_its_seals(run: Run) -> None:
    await run("seal")
    told = await run("verify")
    assert told.code == 0, told.text
    assert "✓ chain and signatures of seals" in told.text
    read = (await run("verify", "--json")).json
    assert read["broken"] is None
    assert len(read["checks"]) >= 10


async def test_a_broken_book_ends_with_one_and_the_row_that_is_wrong(run: Run, admin_pool: asyncpg.Pool) -> None:
    await admin_pool.execute("UPDATE ledger.balance SET posted = posted + 1 WHERE currency = 'JPY' AND posted > 0")
    told = await run("verify")
    assert told.code == 1
    assert "BROKEN: a balance is not the sum of its postings: holdfast:bank JPY" in told.text
    read = await run("verify", "--json")
    assert read.code == 1
    assert read.json["broken"]["subject"] == "holdfast:bank JPY"


async def test_what_is_due_is_sealed_once(run: Run, tmp_path: Path) -> None:
    made = (await run("seal", "--json")).json
    assert sum(part[2] for seal in made for part in seal["parts"]) >= 6
    assert len((tmp_path / "seals.jsonl").read_text().splitlines()) == len(made)
    assert "under a seal already" in (await run("seal")).text


async def test_the_months_are_listed(run: Run) -> None:
    read = (await run("months", "--json")).json
    assert {each["state"] for each in read} == {"live"}
    assert len(read) == 13
    assert f"{datetime.now(UTC):%Y-%m}" in (await run("months")).text


async def test_what_is_archived_is_not_told_as_nothing(run: Run, admin_pool: asyncpg.Pool) -> None:
    await admin_pool.execute("SET ROLE ledger_owner; SELECT ledger.add_month(date '2020-01-01'); RESET ROLE")
    assert (await run("archive", "2020-01", "--as", "ada")).code == 0
    for option in ("--as-of", "--effective-until"):
        with pytest.raises(InstantArchived, match="restore 2020-01 to read it"):
            await run("balance", PAYABLE, "EUR", option, "2020-01-31T23:59:59Z")
    assert "before 2020-02 is archived" in (await run("statement", PAYABLE, "EUR")).text
    assert (await run("statement", PAYABLE, "EUR", "--json")).json["archived_until"] == "2020-02-01T00:00:00+00:00"
    assert "0 entries with 0 postings, as sealed" in (await run("read-back", "2020-01")).text
    assert "is in the journal" in (await run("restore", "2020-01")).text
    assert (await run("balance", PAYABLE, "EUR", "--as-of", "2020-01-31", "--json")).json["posted"] == 0
    assert (await run("months", "--json")).json[0]["state"] == "restored"


async def test_a_month_that_is_not_over_stays(run: Run) -> None:
    with pytest.raises(HoldfastError, match="is not over"):
        await run("archive", f"{datetime.now(UTC):%Y-%m}")


async def test_a_closed_account_takes_no_gate_until_it_is_reopened(run: Run, pool: asyncpg.Pool) -> None:
    asked = ("--why", "the merchant has left", "--as", "ada")
    assert "is closed" in (await run("close", PAYABLE, "EUR", *asked)).text
    assert "was closed already" in (await run("close", PAYABLE, "EUR", *asked)).text
    other = flows.payout_reserve(operation(Prefix.PAYOUT, "other"), Money(1, "EUR"))
    assert (await Journal(pool).post(other)).status == "account_closed"
    assert "is open" in (await run("reopen", PAYABLE, "EUR", "--why", "it is back")).text
    third = flows.payout_reserve(operation(Prefix.PAYOUT, "third"), Money(1, "EUR"))
    assert (await Journal(pool).post(third)).stands


async def test_a_new_key_is_one_that_seals(run: Run) -> None:
    lines = dict(line.split("=", 1) for line in (await run("new-seal-key")).text.splitlines())
    assert SealKey.parse(lines["HOLDFAST_SEAL_KEY"]).public.text == lines["HOLDFAST_SEAL_PUBLIC_KEYS"]
