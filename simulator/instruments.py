"""The test instruments: tokens of payers and accounts of beneficiaries that have a meaning. Any other one is fine."""

from collections.abc import Mapping
from types import MappingProxyType

from simulator.twists import Challenge, Deny, FailLater, Land, Queue, Twist

REVIEW_SECONDS = 1.0  # long enough for the review to be seen, short enough for a demo
FAILURE_SECONDS = 1.0  # success is seen first
ARRIVAL_SECONDS = 0.3  # long enough for ACCEPTED to be seen, short enough for a demo
SLOW_ARRIVAL_SECONDS = 24 * 3600.0  # as between banks: a day in which a transfer can be recalled
BOUNCE_REASON = "beneficiary_unknown"

AUTHORISATIONS: Mapping[str, Twist] = MappingProxyType(
    {
        "tok_denied": Deny("insufficient_credit"),
        "tok_lost_card": Deny("card_reported_lost"),
        "tok_soft": Deny("issuer_unreachable"),
        "tok_review": Queue(REVIEW_SECONDS),
        "tok_challenge": Challenge(),
    }
)
INCREMENTS: Mapping[str, Twist] = MappingProxyType({"tok_fixed": Deny("not_raisable")})
COLLECTIONS: Mapping[str, Twist] = MappingProxyType(
    {"tok_uncollectable": Deny("collection_blocked"), "tok_fails_later": FailLater(FAILURE_SECONDS)}
)
TRANSFERS: Mapping[str, Deny | Land] = MappingProxyType(
    {
        "acct_closed": Deny("account_closed"),
        "acct_bounces": Land(ARRIVAL_SECONDS, BOUNCE_REASON),
        "acct_returns": Land(ARRIVAL_SECONDS, then=FailLater(FAILURE_SECONDS)),
        "acct_slow": Land(SLOW_ARRIVAL_SECONDS),
    }
)
USUAL_LANDING = Land(ARRIVAL_SECONDS)
