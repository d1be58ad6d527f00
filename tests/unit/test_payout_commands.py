"""A batch is read whole or not at all: what is wrong in a file is said with its line, before anything is started."""

import pytest

from domain.errors import BadMoney
from domain.money import Money
from workers.payout_commands import COLUMNS, BadBatch, read
from workers.settings import Settings

HEAD = ",".join(COLUMNS)
LINE = "inv-7,m_bakery,10.50,EUR,acct_ok"


def test_each_line_is_a_payout_of_its_own_and_the_same_one_when_it_is_read_again() -> None:
    text = f"{HEAD}\n{LINE}\ninv-8,m_bakery,500,JPY,acct_ok\n"
    batch = read(text, Settings(), "march")
    first, second = batch.payouts
    assert (first.money, first.merchant_reference, first.destination) == (Money(1050, "EUR"), "inv-7", "acct_ok")
    assert second.money == Money(500, "JPY")
    again = read(text, Settings(), "march")
    assert [each.id for each in again.payouts] == [first.id, second.id]
    assert [each.fingerprint for each in again.payouts] == [first.fingerprint, second.fingerprint]
    assert read(text, Settings(), "april").payouts[0].id != first.id


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "first line names the columns"),
        (f"merchant,amount\n{LINE}", "first line names the columns"),
        (f"{HEAD}\n", "1 to 500 payouts"),
        (f"{HEAD}\ninv-7,m_bakery,10.50,EUR", "line 2: every column"),
        (f"{HEAD}\n{LINE}\ninv-8,m_bakery,,EUR,acct_ok", "line 3: every column"),
        (f"{HEAD}\n{LINE},more", "line 2: every column is filled in, and no other"),
        (f"{HEAD}\ninv-7,The Bakery,10.50,EUR,acct_ok", "line 2: The Bakery can be no merchant"),
        (f"{HEAD}\ninv-7,m_bakery,0,EUR,acct_ok", "line 2: nothing to pay out"),
        (f"{HEAD}\ninv-7,m_bakery,-5,EUR,acct_ok", "line 2: nothing to pay out"),
        (f"{HEAD}\n{LINE}\n{LINE}", "twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(text: str, why: str) -> None:
    with pytest.raises(BadBatch, match=why):
        read(text, Settings(), "march")


@pytest.mark.parametrize("amount", ["10.505", "ten", "1e400"])
def test_an_amount_that_its_currency_cannot_say_is_refused(amount: str) -> None:
    with pytest.raises(BadMoney):
        read(f"{HEAD}\ninv-7,m_bakery,{amount},EUR,acct_ok", Settings(), "march")
