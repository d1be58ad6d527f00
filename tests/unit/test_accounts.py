"""The chart of accounts: codes that the database takes, and the currencies that it lists."""

import re
from pathlib import Path

import pytest

from domain.currencies import EXPONENTS
from domain.ids import MerchantId
from ledger import accounts
from ledger.accounts import Account, Normal

SCHEMA = Path(__file__).parents[2] / "ledger" / "schema"
LONGEST_MERCHANT = MerchantId("m" * 32)
ALL = [
    accounts.unsettled(LONGEST_MERCHANT),
    accounts.payable(LONGEST_MERCHANT),
    accounts.receivable("simulator"),
    accounts.provider_balance("simulator"),
    accounts.provider_fees("simulator"),
    accounts.FEE_INCOME,
    accounts.PAYOUTS_IN_TRANSIT,
    accounts.DISPUTED_FUNDS,
    accounts.BANK,
    accounts.SUSPENSE,
    accounts.fx("treasury"),
]


@pytest.mark.parametrize("account", ALL, ids=lambda account: account.code)
def test_every_code_is_one_that_the_database_takes(account: Account) -> None:
    grammar = re.search(r"code\s+text\s+NOT NULL COLLATE \"C\" CHECK \(code ~ '([^']+)'\)", _sql("accounts"))
    assert grammar is not None
    assert re.fullmatch(grammar[1].strip("^$"), account.code)


def test_no_two_accounts_share_a_code() -> None:
    assert len({account.code for account in ALL}) == len(ALL)


def test_a_number_is_made_of_the_name_and_the_currency() -> None:
    """A stored number means the same account for ever: SHA-256 of `holdfast:bank|EUR` begins 9ad763b73488ab90."""
    assert accounts.BANK.id_in("EUR") == 0x9AD763B73488AB90 >> 1
    numbers = {account.id_in(currency) for account in ALL for currency in ("EUR", "USD")}
    assert len(numbers) == 2 * len(ALL)
    assert all(0 <= number < 2**63 for number in numbers)


def test_cash_lies_in_our_bank_or_in_our_balance_with_a_provider() -> None:
    assert accounts.cash_at(accounts.OUR_BANK) == accounts.BANK
    assert accounts.cash_at("simulator") == accounts.provider_balance("simulator")


def test_what_is_owed_to_merchants_grows_by_credit() -> None:
    assert accounts.payable(LONGEST_MERCHANT).normal is Normal.CREDIT
    assert accounts.unsettled(LONGEST_MERCHANT).normal is Normal.CREDIT
    assert accounts.receivable("simulator").normal is Normal.DEBIT


def test_the_database_lists_the_currencies_that_money_knows() -> None:
    rows = re.findall(r"\('([A-Z]{3})', (\d)\)", _sql("currencies"))
    assert {code: int(exponent) for code, exponent in rows} == dict(EXPONENTS)
    assert len(rows) == len(EXPONENTS)


def _sql(name: str) -> str:
    (file,) = SCHEMA.glob(f"*_{name}.sql")
    return file.read_text()
