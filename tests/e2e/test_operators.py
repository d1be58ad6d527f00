"""Two people at a prompt, against the running stack: what risk holds is listed, approved by both, and decided."""

import asyncio
import json
import os
import sys
from typing import Any

from domain.ids import MerchantId, Reference
from domain.money import Money
from ledger.journal import Journal
from ledger.postings import top_up
from tests.support.live import Live
from workers.embedded.stack import operators_file, read_operators, read_settings

STRANGER = MerchantId("m_stranger")  # nobody has verified this merchant: its payouts wait for people
EVIDENCE = "register extract and passport in the file, seen 12:05"


async def holdfast(live: Live, *words: str, by: str = "") -> tuple[int, str]:
    """Run a command as a person does, and tell its code and what it printed."""
    environment = {**os.environ, **read_settings(live.home), "COLUMNS": "150"}
    if by:
        environment["HOLDFAST_OPERATOR_TOKEN"] = read_operators(live.home)[by]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.command_line", *words, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def waiting(live: Live) -> list[dict[str, Any]]:
    """What `holdfast attention --json` lists of the stranger."""
    code, said = await holdfast(live, "attention", "--json")
    assert code == 0, said
    return [each for each in json.loads(said)["data"] if each["merchant"] == STRANGER]


async def test_what_risk_holds_is_let_pass_by_two_people_and_not_by_one(live: Live) -> None:
    money = top_up(Reference(f"test:{STRANGER}/top-up"), STRANGER, Money(1_000, "EUR"))
    assert (await Journal(live.pool).post(money)).stands
    body = {"amount": 700, "currency": "EUR", "merchant": STRANGER, "destination": "acct_ok"}
    made = (await live.ask("/v1/payouts", body)).json()
    payout = made["id"]
    assert made["status"] in ("requested", "approval")
    held = await live.until(f"/v1/payouts/{payout}", lambda shown: shown["attention"])
    assert held["attention"]["owner"] == "risk-operations"
    async with asyncio.timeout(30):  # Temporal's search lags behind its runs
        while payout not in str(await waiting(live)):
            await asyncio.sleep(0.2)
    [listed] = [each for each in await waiting(live) if each["run"].endswith(payout)]
    assert (listed["amount"], listed["reference"]) == (700, f"{payout}/hold")

    said = {"table": await holdfast(live, "attention"), "run": await holdfast(live, "show", payout)}
    for code, text in said.values():
        assert code == 0, text
        assert f"holdfast approve {payout} done --reference {payout}/hold" in " ".join(text.split())

    approve = ("approve", payout, "done", "--reference", f"{payout}/hold", "--evidence", EVIDENCE)
    for _ in range(2):  # one person, however often
        code, text = await holdfast(live, *approve, by="ann")
        assert code == 0, text
        assert "is kept" in text
    code, text = await holdfast(live, "approve", payout, "done", by="bob")
    assert code == 2, text  # ann's word is not bob's: he has to say that he has looked himself
    code, text = await holdfast(live, *approve, by="bob")
    assert code == 0, text
    assert "decided: done" in text
    await live.until(f"/v1/payouts/{payout}", lambda shown: shown["status"] == "paid")
    code, text = await holdfast(live, *approve, by="ann")
    assert (code, "decided: done. It has ended." in text) == (0, True), text  # said before, and acted upon


async def test_nobody_speaks_without_a_token_nor_about_what_does_not_wait(live: Live) -> None:
    payment = (await live.pay())["id"]
    for words, by, why in (
        (("approve", payment, "done", "--evidence", EVIDENCE), "ann", "waits for no decision"),
        (("retry", payment), "ann", "does not wait"),
        (("retry", "pay_x"), "ann", "No such run"),
    ):
        code, text = await holdfast(live, *words, by=by)
        assert code == 1, text
        assert why in text
    mode = operators_file(live.home).stat().st_mode & 0o777
    assert mode == 0o600
    answer = await live.http.get("/v1/attention")  # with an initiator's token
    assert answer.status_code == 401
