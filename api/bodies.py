"""What initiators may send: bodies and query parameters, strict in types and closed against unknown fields."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from domain.currencies import EXPONENTS
from domain.ids import ALPHABET, ID_LENGTH, Prefix
from domain.money import MINOR_MAX


def _known_currency(text: str) -> str:
    if text not in EXPONENTS:
        raise PydanticCustomError("currency_unknown", "not a currency of ISO 4217 with a minor unit")
    return text


Amount = Annotated[
    int, Field(strict=True, gt=0, le=MINOR_MAX, description="Minor units: 1050 is 10.50 EUR", examples=[1050])
]
Currency = Annotated[
    str,
    AfterValidator(_known_currency),
    Field(description="ISO 4217", examples=["EUR"], json_schema_extra={"pattern": "^[A-Z]{3}$"}),
]
Merchant = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,31}$", examples=["m_bakery"])]
# A provider's token: letters, digits and the punctuation that tokens use; 64 is above any that we know.
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,64}$")]
MerchantReference = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f]{1,64}$",
        description="The initiator's own name for it, shown wherever the operation is shown; not unique",
    ),
]

PayoutId = Annotated[str, Field(pattern=rf"^{Prefix.PAYOUT}_[{ALPHABET}]{{{ID_LENGTH}}}$")]
# 100 is above any reference of ours; a word of evidence is where to look, not what is there.
ParkedReference = Annotated[str, Field(pattern=r"^[!-~]{1,100}$", examples=["cap_….c1"])]
Evidence = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,1000}$",
        description="What was seen, and where; the same words for both approvals",
        examples=["provider's portal, capture co_123, 40.00 EUR, seen 12:05; ticket 4711"],
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PaymentBody(_Strict):
    """A payment to authorize, and in automatic mode to capture at once."""

    amount: Amount
    currency: Currency
    merchant: Merchant
    instrument: Annotated[Token, Field(description="The provider's token of the payer's means; never a card number")]
    capture: Literal["manual", "automatic"] = "manual"
    country: Annotated[
        str | None, Field(pattern=r"^[A-Z]{2}$", description="The payer's, ISO 3166-1 alpha-2", examples=["DE"])
    ] = None
    merchant_reference: MerchantReference | None = None


class CaptureBody(_Strict):
    """All or a part of an authorization; `final` gives up the rest."""

    amount: Amount
    currency: Currency
    final: bool = False


class IncrementBody(_Strict):
    """By how much an authorization is to be raised."""

    amount: Amount
    currency: Currency


class VoidBody(_Strict):
    """Nothing: a void gives up all that is not captured."""


class ReturnBody(_Strict):
    """Nothing: the payer has come back from the challenge, and the provider knows how it went."""


class RecallBody(_Strict):
    """Nothing: a payout is called back whole."""


class RefundBody(_Strict):
    """All or a part of what was captured."""

    amount: Amount
    currency: Currency
    merchant_reference: MerchantReference | None = None


class PayoutBody(_Strict):
    """Money of a merchant's balance to its bank account."""

    amount: Amount
    currency: Currency
    merchant: Merchant
    destination: Annotated[Token, Field(description="The provider's token of the bank account")]
    merchant_reference: MerchantReference | None = None
    replaces: Annotated[
        PayoutId | None, Field(description="The failed or returned payout that this one tries again")
    ] = None


class ApprovalBody(_Strict):
    """What an operator says has happened: one of the two words that a decision needs."""

    reference: ParkedReference
    outcome: Literal["done", "refused"]
    evidence: Evidence


class RetryBody(_Strict):
    """What to look at again; what the run waits for, where nothing is named."""

    reference: ParkedReference | None = None


class _Query(BaseModel):
    """Query parameters arrive as text, so they are read in lax mode; unknown ones are refused all the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(_Query):
    """No parameters."""


class PageQuery(_Query):
    """A page of a list, newest first."""

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    starting_after: Annotated[str | None, Field(description="The id of the last one of the page before")] = None


class AttentionQuery(_Query):
    """Whose list; everybody's, where no owner is named."""

    owner: Annotated[str | None, Field(pattern=r"^[a-z-]{1,64}$", examples=["payments-operations"])] = None


class BalanceQuery(_Query):
    """Which balance, and as of when."""

    currency: Currency
    as_of: Annotated[AwareDatetime | None, Field(description="RFC 3339 with an offset; now, where it is missing")] = (
        None
    )
