"""Approvals on the real database: two people, one decision, nothing altered (money rule 15)."""

import asyncio

import asyncpg
import pytest

from domain.ids import Reference
from domain.outcomes import Outcome
from records.approvals import EVIDENCE_LENGTH_MAX, Approvals
from tests.support.cluster import Database, TestCluster
from workers.migrations import API_ROLE, UPKEEP_ROLE, WORKER_ROLE

RUN = "payment/pay_1"
PARKED = Reference("pay_1.c1")
SEEN = "statement of 3 May, line 7"
RACERS = 16


@pytest.fixture
def approvals(pool: asyncpg.Pool) -> Approvals:
    return Approvals(pool)


async def _by(approvals: Approvals, *actors: str) -> list[str]:
    return [await approvals.give(RUN, PARKED, Outcome.DONE, SEEN, actor) for actor in actors]


async def test_two_people_make_a_decision_and_the_same_decision_may_ask_again(approvals: Approvals) -> None:
    ann, bob = await _by(approvals, "ann", "bob")
    assert await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, (ann, bob)) == ""
    assert await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, (bob, ann)) == ""
    assert [(each.actor, each.used_by) for each in await approvals.of(RUN, PARKED)] == [("ann", bob), ("bob", ann)]


async def test_the_same_word_given_again_is_the_same_approval_however_many_give_it_at_once(
    approvals: Approvals,
) -> None:
    given = await asyncio.gather(*(approvals.give(RUN, PARKED, Outcome.DONE, SEEN, "ann") for _ in range(RACERS)))
    assert len(set(given)) == 1
    others = [
        await approvals.give("payment/pay_2", PARKED, Outcome.DONE, SEEN, "ann"),
        await approvals.give(RUN, Reference("pay_1.v1"), Outcome.DONE, SEEN, "ann"),
        await approvals.give(RUN, PARKED, Outcome.REFUSED, SEEN, "ann"),
        await approvals.give(RUN, PARKED, Outcome.DONE, f"{SEEN}.", "ann"),
        await approvals.give(RUN, PARKED, Outcome.DONE, SEEN, "bob"),
    ]
    assert len({*given, *others}) == 6


async def test_one_person_alone_makes_no_decision(approvals: Approvals) -> None:
    (ann,) = await _by(approvals, "ann")
    again = await approvals.give(RUN, PARKED, Outcome.DONE, f"{SEEN}, seen twice", "ann")
    assert "these are one" in await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, (ann, ann))
    assert "these are 1" in await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, (ann,))
    assert again in await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, (ann, again))  # it names other evidence
    assert all(each.used_by is None for each in await approvals.of(RUN, PARKED))


async def test_two_approvals_of_one_person_make_no_decision_even_where_every_word_is_the_same(
    approvals: Approvals, admin_pool: asyncpg.Pool
) -> None:
    """The table keeps such a pair out; the function must not rely on it."""
    (ann,) = await _by(approvals, "ann")
    await admin_pool.execute(
        "ALTER TABLE records.approval DROP CONSTRAINT approval_run_reference_outcome_digest_actor_key"
    )
    twin = await admin_pool.fetchval(
        "INSERT INTO records.approval (run, reference, outcome, evidence, digest, actor) "
        "SELECT run, reference, outcome, evidence, digest, actor FROM records.approval WHERE id = $1 RETURNING id",
        ann,
    )
    assert "the same person" in await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, (ann, twin))


@pytest.mark.parametrize(
    ("run", "reference", "outcome", "evidence"),
    [
        ("payment/pay_2", PARKED, Outcome.DONE, SEEN),
        (RUN, Reference("pay_1.v1"), Outcome.DONE, SEEN),
        (RUN, PARKED, Outcome.REFUSED, SEEN),
        (RUN, PARKED, Outcome.DONE, "something else"),
    ],
    ids=["run", "reference", "outcome", "evidence"],
)
async def test_approvals_serve_no_other(
    approvals: Approvals, run: str, reference: Reference, outcome: Outcome, evidence: str
) -> None:
    pair = await _by(approvals, "ann", "bob")
    assert "not of this decision" in await approvals.use(run, reference, outcome, evidence, pair)
    assert all(each.used_by is None for each in await approvals.of(RUN, PARKED))


@pytest.mark.parametrize("unknown", ["", "…", "apr_0"])
async def test_an_approval_that_nobody_gave_is_named(approvals: Approvals, unknown: str) -> None:
    (ann,) = await _by(approvals, "ann")
    for pair in ((ann, unknown), (unknown, ann)):
        assert await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, pair) == f"there is no approval {unknown}"
    assert "there is no approval" in await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, ("one", "other"))


async def test_an_approval_makes_one_decision_whoever_is_quicker(approvals: Approvals) -> None:
    ann, bob, eve = await _by(approvals, "ann", "bob", "eve")
    told = await asyncio.gather(
        *(approvals.use(RUN, PARKED, Outcome.DONE, SEEN, pair) for pair in ((ann, bob), (bob, eve), (eve, ann)))
    )
    assert min(told) == ""
    assert sum("has made another decision" in each for each in told) == 2


async def test_evidence_is_said_and_is_not_a_book(approvals: Approvals) -> None:
    for evidence in ("", "x" * (EVIDENCE_LENGTH_MAX + 1)):
        with pytest.raises(asyncpg.CheckViolationError):
            await approvals.give(RUN, PARKED, Outcome.DONE, evidence, "ann")
    await approvals.give(RUN, PARKED, Outcome.DONE, "ä" * EVIDENCE_LENGTH_MAX, "ann")
    with pytest.raises(asyncpg.CheckViolationError):
        await approvals.give(RUN, PARKED, Outcome.UNKNOWN, SEEN, "ann")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records.approval SET actor = 'bob'",
        "UPDATE records.approval SET outcome = 'refused'",
        "UPDATE records.approval SET evidence = 'x', digest = sha256('x')",
        "UPDATE records.approval SET run = 'payment/pay_2'",
        "UPDATE records.approval SET login = 'holdfast_api'",
        "DELETE FROM records.approval",
        "TRUNCATE records.approval",
    ],
)
async def test_nobody_alters_an_approval_not_even_a_superuser(
    approvals: Approvals, admin_pool: asyncpg.Pool, change: str
) -> None:
    await _by(approvals, "ann")
    with pytest.raises(asyncpg.RestrictViolationError):
        await admin_pool.execute(change)


async def test_a_used_approval_is_not_used_afresh(approvals: Approvals, admin_pool: asyncpg.Pool) -> None:
    assert await approvals.use(RUN, PARKED, Outcome.DONE, SEEN, await _by(approvals, "ann", "bob")) == ""
    for change in ("used_by = NULL, used_at = NULL", "used_by = 'apr_0'"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await admin_pool.execute(f"UPDATE records.approval SET {change}")


async def test_the_api_gives_the_worker_uses_and_neither_does_the_others_part(
    database: Database, cluster: TestCluster
) -> None:
    def opened(login: str) -> asyncpg.Pool:
        return asyncpg.create_pool(
            cluster.cluster.url(database.name, user=login, password=cluster.password), min_size=1, max_size=1
        )

    async with opened(API_ROLE) as api, opened(WORKER_ROLE) as worker, opened(UPKEEP_ROLE) as upkeep:
        pair = await _by(Approvals(api), "ann", "bob")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await Approvals(api).use(RUN, PARKED, Outcome.DONE, SEEN, pair)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _by(Approvals(worker), "eve")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await Approvals(upkeep).of(RUN, PARKED)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(
                "INSERT INTO records.approval (run, reference, outcome, evidence, digest, actor, login) "
                "VALUES ('r', 'r', 'done', 'e', sha256('e'), 'ann', 'holdfast')"
            )
        assert await Approvals(worker).use(RUN, PARKED, Outcome.DONE, SEEN, pair) == ""
        assert await api.fetchval("SELECT DISTINCT login FROM records.approval") == API_ROLE
