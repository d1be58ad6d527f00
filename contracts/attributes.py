"""The search attributes by which operators find runs. The stack registers exactly these."""

from datetime import datetime

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from domain.commands import Start

PAYMENT_STATE = SearchAttributeKey.for_keyword("PaymentState")
PROVIDER = SearchAttributeKey.for_keyword("Provider")
MERCHANT_ID = SearchAttributeKey.for_keyword("MerchantId")
CURRENCY = SearchAttributeKey.for_keyword("Currency")
OWNER = SearchAttributeKey.for_keyword("Owner")
AMOUNT_MINOR = SearchAttributeKey.for_int("AmountMinor")
NEEDS_ATTENTION = SearchAttributeKey.for_bool("NeedsAttention")
UNKNOWN_SINCE: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("UnknownSince")

REGISTERED = {
    "PaymentState": "Keyword",
    "Provider": "Keyword",
    "MerchantId": "Keyword",
    "Currency": "Keyword",
    "Owner": "Keyword",
    "AmountMinor": "Int",
    "NeedsAttention": "Bool",
    "UnknownSince": "Datetime",
}


def of(start: Start, state: str = "requested") -> TypedSearchAttributes:
    """Say by what a run that begins is found; the run itself keeps them up to date."""
    return TypedSearchAttributes([
        SearchAttributePair(PAYMENT_STATE, state),
        SearchAttributePair(PROVIDER, start.promises.provider),
        SearchAttributePair(MERCHANT_ID, start.merchant),
        SearchAttributePair(CURRENCY, start.money.currency),
        SearchAttributePair(AMOUNT_MINOR, start.money.minor),
        SearchAttributePair(NEEDS_ATTENTION, False),  # noqa: FBT003  the value of a pair
    ])  # fmt: skip
