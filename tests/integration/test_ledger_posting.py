"""The journal on a real Postgres: gates are refused for good, facts never are, a reference has one effect."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from domain.ids import MerchantId, OperationId, Prefix, Reference
from domain.money import Money
from ledger.accounts import PAYOUTS_IN_TRANSIT, payable, receivable, unsettled
from ledger.entry import Entry, HoldAction, HoldChange, Line, Nature
from ledger.journal import Journal, Posted, Status
from tests.support.ledger_flows import MERCHANT, PROVIDER, Flows, flows, hold_of, operation

EUR = "EUR"
PAYABLE, UNSETTLED, RECEIVABLE = payable(MERCHANT).code, unsettled(MERCHANT).code, receivable(PROVIDER).code


def euro(minor: int) -> Money:
    return Money(minor, EUR)


def payment(key: str = "one") -> OperationId:
    return operation(Prefix.PAYMENT, key)


@pytest.fixture
def journal(pool: asyncpg.Pool) -> Journal:
    return Journal(pool)


async def post(journal: Journal, *entries: Entry) -> list[Status]:
    return [(await journal.post(entry)).status for entry in entries]


async def layers(journal: Journal, code: str, currency: str = EUR) -> tuple[int, int, int]:
    """An account's three layers; one that nothing has been posted to is empty, whether it is open or not."""
    balance = await journal.balance(code, currency)
    return (balance.posted, balance.pending_debit, balance.pending_credit) if balance else (0, 0, 0)


async def captured(journal: Journal, key: str, minor: int) -> OperationId:
    """A payment of which everything is captured."""
    each = payment(key)
    capture = flows.capture(operation(Prefix.CAPTURE, key), each, euro(minor), final=True)
    assert await post(journal, flows.hold(each, euro(minor)), capture) == [Status.POSTED] * 2
    return each


async def test_a_payment_is_held_captured_in_parts_and_its_rest_released(journal: Journal) -> None:
    await post(journal, flows.hold(payment(), euro(100)))
    assert await layers(journal, RECEIVABLE) == (0, 100, 0)
    assert await layers(journal, UNSETTLED) == (0, 0, 100)
    await post(journal, flows.capture(operation(Prefix.CAPTURE, "a"), payment(), euro(40), fee=euro(1)))
    assert await layers(journal, RECEIVABLE) == (40, 60, 0)
    assert await layers(journal, UNSETTLED) == (-39, 0, 60)
    await post(journal, flows.release(payment()))
    assert await layers(journal, RECEIVABLE) == (40, 0, 0)
    assert await journal.verify() is None


async def test_a_final_capture_gives_the_rest_of_the_hold_up(journal: Journal) -> None:
    await post(journal, flows.hold(payment(), euro(100)))
    answer = await journal.post(flows.capture(operation(Prefix.CAPTURE, "a"), payment(), euro(40), final=True))
    assert answer.hold_left == 100
    assert await layers(journal, RECEIVABLE) == (40, 0, 0)


async def test_the_same_entry_again_has_no_effect_and_gets_the_same_entry(journal: Journal) -> None:
    first = await journal.post(flows.hold(payment(), euro(100), expires_seconds=60))
    again = await journal.post(flows.hold(payment(), euro(100), expires_seconds=60))
    assert (again.status, again.entry_id) == (Status.REPLAYED, first.entry_id)
    assert await layers(journal, RECEIVABLE) == (0, 100, 0)


async def test_other_content_under_a_reference_is_a_conflict_that_leaves_an_event(
    journal: Journal, pool: asyncpg.Pool
) -> None:
    await post(journal, flows.hold(payment(), euro(100)))
    assert await post(journal, flows.hold(payment(), euro(101))) == [Status.CONFLICTING_CONTENT]
    assert await layers(journal, RECEIVABLE) == (0, 100, 0)
    assert await pool.fetchval("SELECT count(*) FROM ledger.event WHERE action = 'entry.conflict'") == 1


async def test_fifty_duplicates_at_once_are_one_entry_and_an_altered_one_is_a_conflict(journal: Journal) -> None:
    same = [flows.hold(payment(), euro(100)) for _ in range(50)]
    answers = await asyncio.gather(*(journal.post(entry) for entry in same))
    assert Counter(answer.status for answer in answers) == {Status.POSTED: 1, Status.REPLAYED: 49}
    assert len({answer.entry_id for answer in answers}) == 1
    altered = await asyncio.gather(*(journal.post(flows.hold(payment(), euro(7))) for _ in range(5)))
    assert {answer.status for answer in altered} == {Status.CONFLICTING_CONTENT}
    assert await layers(journal, RECEIVABLE) == (0, 100, 0)


async def test_a_refusal_is_final_for_its_reference_even_when_there_is_money_later(journal: Journal) -> None:
    payout = operation(Prefix.PAYOUT, "early")
    assert await post(journal, flows.payout_reserve(payout, euro(50))) == [Status.INSUFFICIENT_FUNDS]
    await post(journal, flows.top_up("one", euro(1000)))
    again = await journal.post(flows.payout_reserve(payout, euro(50)))
    assert (again.status, again.first) == (Status.REJECTED_BEFORE, Status.INSUFFICIENT_FUNDS)
    assert await layers(journal, PAYABLE) == (-1000, 0, 0)
    assert await post(journal, flows.payout_reserve(operation(Prefix.PAYOUT, "late"), euro(50))) == [Status.POSTED]
    assert await journal.verify() is None


async def test_payouts_at_once_cannot_draw_more_than_there_is(journal: Journal, pool: asyncpg.Pool) -> None:
    await post(journal, flows.top_up("one", euro(100)))
    gates = [flows.payout_reserve(operation(Prefix.PAYOUT, str(number)), euro(30)) for number in range(20)]
    answers = await asyncio.gather(*(journal.post(gate) for gate in gates))
    assert Counter(answer.status for answer in answers) == {Status.POSTED: 3, Status.INSUFFICIENT_FUNDS: 17}
    balance = await journal.balance(PAYABLE, EUR)
    assert balance is not None
    assert balance.available == 10
    proofs = await pool.fetch(
        "SELECT hold_amount, available_before FROM ledger.entry WHERE bounded_account IS NOT NULL ORDER BY 2 DESC"
    )
    assert [tuple(proof) for proof in proofs] == [(30, 100), (30, 70), (30, 40)]
    assert await journal.verify() is None


async def test_refunds_at_once_cannot_give_back_more_than_was_captured(journal: Journal) -> None:
    whole = await captured(journal, "one", 100)
    gates = [flows.refund_reserve(operation(Prefix.REFUND, str(number)), whole, euro(40)) for number in range(10)]
    answers = await asyncio.gather(*(journal.post(gate) for gate in gates))
    assert Counter(answer.status for answer in answers) == {Status.POSTED: 2, Status.REFUNDABLE_EXCEEDED: 8}
    left = await journal.refundable(whole, EUR)
    assert left is not None
    assert (left.captured, left.reserved, left.left) == (100, 80, 20)


async def test_a_refund_needs_no_balance_of_the_merchant(journal: Journal) -> None:
    whole, refund = await captured(journal, "one", 100), operation(Prefix.REFUND, "one")
    entries = flows.refund_reserve(refund, whole, euro(100)), flows.refund_done(refund, whole, euro(100))
    assert await post(journal, *entries) == [Status.POSTED] * 2
    assert await layers(journal, PAYABLE) == (100, 0, 0)
    left = await journal.refundable(whole, EUR)
    assert left is not None
    assert (left.refunded, left.reserved, left.left) == (100, 0, 0)


async def test_a_released_refund_can_be_asked_for_again(journal: Journal) -> None:
    whole = await captured(journal, "one", 100)
    first, second = operation(Prefix.REFUND, "first"), operation(Prefix.REFUND, "second")
    await post(journal, flows.refund_reserve(first, whole, euro(100)), flows.release(first))
    assert await post(journal, flows.refund_reserve(second, whole, euro(100))) == [Status.POSTED]


async def test_a_refund_of_what_was_never_captured_is_refused_and_does_not_hinder_the_capture(journal: Journal) -> None:
    early = flows.refund_reserve(operation(Prefix.REFUND, "early"), payment(), Money(1, "JPY"))
    assert await post(journal, early) == [Status.REFUNDABLE_EXCEEDED]
    await captured(journal, "one", 100)
    left = await journal.refundable(payment(), EUR)
    assert left is not None
    assert (left.currency, left.left) == (EUR, 100)


async def test_a_refund_in_another_currency_than_the_capture_is_refused(journal: Journal) -> None:
    whole = await captured(journal, "one", 100)
    other = flows.refund_reserve(operation(Prefix.REFUND, "yen"), whole, Money(10, "JPY"))
    assert await post(journal, other) == [Status.REFUNDABLE_EXCEEDED]


async def test_a_capture_is_booked_in_full_after_its_hold_has_expired_and_been_released(journal: Journal) -> None:
    await post(journal, flows.hold(payment(), euro(100), expires_seconds=0.001), flows.release(payment()))
    answer = await journal.post(flows.capture(operation(Prefix.CAPTURE, "late"), payment(), euro(100)))
    assert (answer.status, answer.hold_left) == (Status.POSTED, 0)
    assert await layers(journal, RECEIVABLE) == (100, 0, 0)
    assert await journal.verify() is None


async def test_a_capture_above_its_hold_uses_up_what_is_left_and_is_booked_in_full(journal: Journal) -> None:
    await post(journal, flows.hold(payment(), euro(100)))
    answer = await journal.post(flows.capture(operation(Prefix.CAPTURE, "over"), payment(), euro(130)))
    assert (answer.status, answer.hold_left) == (Status.POSTED, 100)
    assert await layers(journal, RECEIVABLE) == (130, 0, 0)


async def test_a_capture_without_any_hold_is_booked(journal: Journal) -> None:
    answer = await journal.post(flows.capture(operation(Prefix.CAPTURE, "lone"), payment(), euro(30)))
    assert (answer.status, answer.hold_left) == (Status.POSTED, None)
    assert await layers(journal, RECEIVABLE) == (30, 0, 0)


async def test_a_chargeback_is_booked_after_the_balance_was_paid_out(journal: Journal) -> None:
    payout = operation(Prefix.PAYOUT, "all")
    await post(journal, flows.top_up("one", euro(100)), flows.payout_reserve(payout, euro(100)))
    await post(journal, flows.payout_accepted(payout, euro(100)), flows.payout_paid(payout, euro(100)))
    withdrawn = flows.funds_withdrawn("case-7", payment(), euro(60))
    lost = flows.dispute_lost("case-7", "case-7", payment(), euro(60))
    assert await post(journal, withdrawn) == [Status.POSTED]
    assert await layers(journal, PAYABLE) == (0, 60, 0)
    assert await post(journal, lost) == [Status.POSTED]
    assert await layers(journal, PAYABLE) == (60, 0, 0)
    balance = await journal.balance(PAYABLE, EUR)
    assert balance is not None
    assert balance.available == -60
    assert await post(journal, flows.payout_reserve(operation(Prefix.PAYOUT, "more"), euro(1))) == [
        Status.INSUFFICIENT_FUNDS
    ]
    assert await journal.verify() is None


async def test_a_release_is_done_where_nothing_was_held_and_the_hold_that_comes_late_is_refused(
    journal: Journal,
) -> None:
    release = flows.release(payment())
    assert await post(journal, release, release) == [Status.POSTED, Status.REPLAYED]
    assert await post(journal, flows.hold(payment(), euro(100))) == [Status.HOLD_NOT_OPEN]
    assert await layers(journal, RECEIVABLE) == (0, 0, 0)
    assert await journal.verify() is None


async def test_a_hold_and_its_release_at_once_leave_nothing_held(journal: Journal) -> None:
    each = [payment(str(number)) for number in range(20)]
    entries = [entry for one in each for entry in (flows.hold(one, euro(10)), flows.release(one))]
    random.Random(7).shuffle(entries)
    await asyncio.gather(*(journal.post(entry) for entry in entries))
    assert await layers(journal, RECEIVABLE) == (0, 0, 0)
    assert await journal.verify() is None


async def test_a_closed_account_refuses_gates_and_takes_facts(journal: Journal, admin_pool: asyncpg.Pool) -> None:
    await post(journal, flows.top_up("one", euro(100)))
    await admin_pool.fetchval("SELECT ledger.set_closed($1, 'EUR', true, 'ada', 'it has left us')", PAYABLE)
    payout = operation(Prefix.PAYOUT, "one")
    assert await post(journal, flows.payout_reserve(payout, euro(50))) == [Status.ACCOUNT_CLOSED]
    assert await post(journal, flows.top_up("two", euro(5))) == [Status.POSTED]
    assert await layers(journal, PAYABLE) == (-105, 0, 0)


async def test_a_payout_that_fails_after_it_was_accepted_is_owed_again(journal: Journal, pool: asyncpg.Pool) -> None:
    payout = operation(Prefix.PAYOUT, "one")
    await post(journal, flows.top_up("one", euro(100)), flows.payout_reserve(payout, euro(70)))
    await post(journal, flows.payout_accepted(payout, euro(70)))
    assert await layers(journal, PAYABLE) == (-30, 0, 0)
    await post(journal, flows.payout_failed(payout, euro(70)))
    assert await layers(journal, PAYABLE) == (-100, 0, 0)
    reversed_entry = await pool.fetchval("SELECT reverses FROM ledger.entry WHERE kind = 'payout_failed'")
    assert reversed_entry == flows.payout_accepted(payout, euro(70)).reference


async def test_a_balance_is_read_as_of_any_time(journal: Journal, pool: asyncpg.Pool) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    await post(journal, flows.hold(payment(), euro(100)))
    held: datetime = await pool.fetchval("SELECT max(posted_at) FROM ledger.entry")
    await post(journal, flows.capture(operation(Prefix.CAPTURE, "a"), payment(), euro(40), final=True))

    async def read(as_of: datetime) -> tuple[int, int, int]:
        balance = await journal.balance(UNSETTLED, EUR, as_of)
        assert balance is not None
        return balance.posted, balance.pending_debit, balance.pending_credit

    assert await read(before) == (0, 0, 0)
    assert await read(held) == (0, 0, 100)
    assert await read(datetime.now(UTC) + timedelta(hours=1)) == (-40, 0, 0)
    assert await journal.balance("merchant:nobody:payable", EUR) is None


async def test_a_statement_is_read_page_by_page_with_running_balances(journal: Journal) -> None:
    for number in range(1, 6):
        await post(journal, flows.top_up(f"line{number}", euro(number)))
    first = await journal.statement(PAYABLE, EUR, limit=3)
    second = await journal.statement(PAYABLE, EUR, after=first[-1].position, limit=3)
    assert [line.version for line in first + second] == [1, 2, 3, 4, 5]
    assert [line.posted_after for line in first + second] == [-1, -3, -6, -10, -15]


async def test_the_entries_of_an_operation_tell_its_story(journal: Journal) -> None:
    payout = operation(Prefix.PAYOUT, "one")
    await post(journal, flows.top_up("one", euro(100)), flows.payout_reserve(payout, euro(70)))
    await post(journal, flows.payout_accepted(payout, euro(70)), flows.payout_paid(payout, euro(70)))
    booked = await journal.entries_of(payout)
    assert [(each.kind, each.money) for each in booked] == [
        ("payout_reserve", euro(0)),
        ("payout_accepted", euro(70)),
        ("payout_paid", euro(70)),
    ]


async def test_each_entry_and_each_refusal_says_who_when_and_why(journal: Journal, pool: asyncpg.Pool) -> None:
    payout = operation(Prefix.PAYOUT, "one")
    before: datetime = await pool.fetchval("SELECT clock_timestamp()")
    refused, booked = flows.payout_reserve(payout, euro(1)), flows.top_up("one", euro(9))
    await post(journal, refused, booked)
    await post(journal, refused)
    corrected = flows.taken_back("case-1", booked)
    await Journal(pool, actor="ada").post(corrected)
    entries = await pool.fetch(
        "SELECT reference, kind, actor, why, reverses, posted_at FROM ledger.entry ORDER BY posted_at"
    )
    assert [tuple(entry)[:-1] for entry in entries] == [
        (booked.reference, "top_up", "holdfast", "", None),
        (corrected.reference, "correction", "ada", corrected.why, booked.reference),
    ]
    rejections = await pool.fetch("SELECT reference, kind, actor, status, amount, currency, at FROM ledger.rejection")
    assert [tuple(rejection)[:-1] for rejection in rejections] == [
        (f"{payout}/hold", "payout_reserve", "holdfast", "insufficient_funds", 1, EUR)
    ]
    times = [rejections[0]["at"], *(entry["posted_at"] for entry in entries)]
    assert before < times[0] < times[1] < times[2] < before + timedelta(minutes=5)


async def test_what_leaves_no_entry_leaves_its_event(
    journal: Journal, pool: asyncpg.Pool, admin_pool: asyncpg.Pool
) -> None:
    await post(journal, flows.top_up("one", euro(9)), flows.top_up("one", euro(8)))
    for closed in (True, True, False):
        await admin_pool.fetchval("SELECT ledger.set_closed($1, 'EUR', $2, 'ada', 'it asked us to')", PAYABLE, closed)
    events = await pool.fetch("SELECT actor, action, subject, why, before->>'posted' FROM ledger.event ORDER BY id")
    assert sorted(tuple(event) for event in events[:2]) == [
        ("holdfast", "account.opened", "holdfast:bank", "", None),
        ("holdfast", "account.opened", PAYABLE, "", None),
    ]
    assert [tuple(event) for event in events[2:]] == [
        ("holdfast", "entry.conflict", "bank:one/top-up", "", None),
        ("ada", "account.closed", PAYABLE, "it asked us to", "-9"),
        ("ada", "account.reopened", PAYABLE, "it asked us to", "-9"),
    ]


async def test_currencies_with_other_exponents_stand_apart(journal: Journal) -> None:
    await post(journal, *(flows.top_up(code, Money(1234, code)) for code in ("JPY", "EUR", "BHD")))
    assert [await layers(journal, PAYABLE, code) for code in ("JPY", "EUR", "BHD")] == [(-1234, 0, 0)] * 3


async def test_a_fact_in_another_currency_than_its_hold_is_booked_and_leaves_the_hold_as_it_is(
    journal: Journal,
) -> None:
    await post(journal, flows.hold(payment(), euro(100)))
    yen = flows.capture(operation(Prefix.CAPTURE, "yen"), payment(), Money(10, "JPY"), final=True)
    answer = await journal.post(yen)
    assert (answer.status, answer.hold_left) == (Status.POSTED, 100)
    assert await layers(journal, RECEIVABLE) == (0, 100, 0)
    assert await layers(journal, RECEIVABLE, "JPY") == (10, 0, 0)
    assert await journal.verify() is None


def gate_on(hold: Reference, key: str, money: Money, *, final: bool = False) -> Entry:
    """A gate that asks for money of a hold which is there: one more transfer of it, say."""
    return Entry(
        reference=Reference(f"tests:{key}/use"),
        kind="use_of_a_hold",
        nature=Nature.GATE,
        lines=(Line(payable(MERCHANT), money), Line(PAYOUTS_IN_TRANSIT, Money(-money.minor, money.currency))),
        hold=HoldChange(reference=hold, action=HoldAction.USE, money=money, final=final),
    )


async def test_a_gate_gets_no_more_of_a_hold_than_it_has_left_and_is_told_precisely(journal: Journal) -> None:
    payout = operation(Prefix.PAYOUT, "one")
    await post(journal, flows.top_up("one", euro(100)), flows.payout_reserve(payout, euro(70)))
    hold = hold_of(payout)
    assert await post(journal, gate_on(hold, "over", euro(71))) == [Status.HOLD_EXCEEDED]
    assert await post(journal, gate_on(hold, "other", Money(1, "JPY"))) == [Status.CURRENCY_DIFFERS]
    assert await post(journal, gate_on(hold_of(payment()), "none", euro(1))) == [Status.HOLD_NOT_OPEN]
    assert await layers(journal, PAYABLE) == (-100, 70, 0)
    answer = await journal.post(gate_on(hold, "part", euro(30)))
    assert (answer.status, answer.hold_left) == (Status.POSTED, 70)
    assert await post(journal, gate_on(hold, "again", euro(41))) == [Status.HOLD_EXCEEDED]
    assert await post(journal, gate_on(hold, "rest", euro(40))) == [Status.POSTED]
    assert await post(journal, gate_on(hold, "late", euro(1))) == [Status.HOLD_NOT_OPEN]
    assert await layers(journal, PAYABLE) == (-30, 0, 0)
    again = await journal.post(gate_on(hold, "over", euro(71)))
    assert (again.status, again.first) == (Status.REJECTED_BEFORE, Status.HOLD_EXCEEDED)
    assert await journal.verify() is None


async def test_an_expired_hold_refuses_gates_and_serves_facts(journal: Journal) -> None:
    await post(journal, flows.hold(payment(), euro(100), expires_seconds=0.001))
    await asyncio.sleep(0.01)
    assert await post(journal, gate_on(hold_of(payment()), "late", euro(1))) == [Status.HOLD_NOT_OPEN]
    answer = await journal.post(flows.capture(operation(Prefix.CAPTURE, "late"), payment(), euro(40)))
    assert (answer.status, answer.hold_left) == (Status.POSTED, 100)
    assert await layers(journal, RECEIVABLE) == (40, 60, 0)


@pytest.mark.parametrize(
    ("seconds", "final", "ends"), [(0, True, "captured"), (0, False, "voided"), (0.001, False, "expired")]
)
async def test_a_hold_ends_captured_voided_or_expired(
    journal: Journal, pool: asyncpg.Pool, seconds: float, final: bool, ends: str
) -> None:
    async def state() -> tuple[str, int]:
        row = await pool.fetchrow("SELECT state, remaining FROM ledger.hold WHERE reference = $1", hold_of(payment()))
        assert row is not None
        return row["state"], row["remaining"]

    await post(journal, flows.hold(payment(), euro(100), expires_seconds=seconds))
    assert await state() == ("open", 100)
    await post(journal, flows.capture(operation(Prefix.CAPTURE, "one"), payment(), euro(40), final=final))
    await asyncio.sleep(0.01)
    await post(journal, flows.release(payment()))
    assert await state() == (ends, 0)


async def test_shuffled_writers_of_the_same_accounts_and_holds_never_deadlock(
    journal: Journal, admin_pool: asyncpg.Pool
) -> None:
    three = [Flows(MerchantId(f"merchant{number}")) for number in range(3)]
    entries: list[Entry] = []
    for number in range(40):
        one, cap, rfd = (
            payment(str(number)),
            operation(Prefix.CAPTURE, str(number)),
            operation(Prefix.REFUND, str(number)),
        )
        flows = three[number % 3]
        entries += [
            flows.hold(one, euro(100)),
            flows.capture(cap, one, euro(60), fee=euro(1)),
            flows.refund_reserve(rfd, one, euro(10)),
            flows.refund_done(rfd, one, euro(10)),
            flows.release(one),
            flows.top_up(f"line{number}", euro(10)),
            flows.payout_reserve(operation(Prefix.PAYOUT, str(number)), euro(9)),
        ]
    random.Random(11).shuffle(entries)
    answers = await asyncio.gather(*(journal.post(entry) for entry in entries))
    facts = [answer for entry, answer in zip(entries, answers, strict=True) if entry.nature is Nature.FACT]
    assert {answer.status for answer in facts} == {Status.POSTED}
    assert await admin_pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    assert await journal.verify() is None
    assert sum(row.posted for row in await journal.trial_balance()) == 0


async def test_an_answer_says_whether_the_entry_stands() -> None:
    standing = {status for status in Status if Posted(status, 1).stands}
    assert standing == {Status.POSTED, Status.REPLAYED}
