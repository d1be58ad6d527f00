"""Balances, as the ledger has them: now, or as of an instant. Never answered from a cache."""

import re

from pydantic import BaseModel

from api import resources
from api.answers import Answer
from api.bodies import BalanceQuery
from api.problems import Code, Problem
from api.registrar import Asked, Auth, Operation
from api.resources import BalanceResource
from api.routes.started import made
from domain.errors import InstantArchived
from identity.clients import Client, Scope

CODE = re.compile(r"[a-z0-9_:-]{3,100}")
OF_A_MERCHANT = re.compile(r"merchant:([a-z0-9_]+):[a-z_]+")


async def show_balance(asked: Asked[BaseModel]) -> Answer:
    """Show an account's balance in one currency."""
    query, code = asked.query, asked.path["code"]
    assert isinstance(query, BalanceQuery)
    if CODE.fullmatch(code) is None or not _may_read(asked.client, code):
        raise Problem(Code.ACCOUNT_NOT_FOUND)
    try:
        balance = await asked.deps.balances.balance(code, query.currency, query.as_of)
    except InstantArchived as archived:
        raise Problem(Code.INSTANT_ARCHIVED) from archived
    if balance is None:
        raise Problem(Code.ACCOUNT_NOT_FOUND)
    shown = BalanceResource(
        account=code,
        currency=query.currency,
        posted=balance.posted,
        pending_debit=balance.pending_debit,
        pending_credit=balance.pending_credit,
        available=balance.available,
        as_of=resources.instant(query.as_of) if query.as_of else None,
    )
    return made(200, shown)


def _may_read(client: Client, code: str) -> bool:
    """A client of some merchants reads their accounts; our own are for a client of all."""
    merchant = OF_A_MERCHANT.fullmatch(code)
    return client.may_act_for(merchant[1] if merchant else "")


OPERATIONS = (
    Operation(
        id="getBalance",
        method="GET",
        path="/v1/accounts/{code}/balance",
        summary="Show an account's balance, now or as of an instant",
        perform=show_balance,
        answers={200: BalanceResource},
        auth=Auth.BEARER,
        scope=Scope.LEDGER_READ,
        query=BalanceQuery,
        errors=(Code.ACCOUNT_NOT_FOUND, Code.INSTANT_ARCHIVED, Code.FIELD_MISSING, Code.CURRENCY_UNKNOWN),
    ),
)
