"""The search attributes by which operators find runs. The stack registers exactly these."""

from datetime import datetime

from temporalio.common import SearchAttributeKey

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
