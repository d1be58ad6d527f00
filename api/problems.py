"""Every way in which the API says no: problem details (RFC 9457) with a stable code.

The table below is the contract with initiators and the source of docs/api.md. A problem never echoes a value that was
sent: the value might be a card number. Knows nothing of routes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from api.answers import Answer

PROBLEM_JSON = "application/problem+json"
TYPE = "urn:problem-type:holdfast:"  # not a URL: Holdfast has no site of its own that a URL could promise


class Code(StrEnum):
    """The stable name of a problem; initiators branch on it, so none is ever renamed."""

    MALFORMED_JSON = "malformed_json"
    DUPLICATE_JSON_KEY = "duplicate_json_key"
    IDEMPOTENCY_KEY_MISSING = "idempotency_key_missing"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"
    UNAUTHENTICATED = "unauthenticated"
    SIGNATURE_INVALID = "signature_invalid"
    SCOPE_MISSING = "scope_missing"
    MERCHANT_NOT_PERMITTED = "merchant_not_permitted"
    NOT_FOUND = "not_found"
    PAYMENT_NOT_FOUND = "payment_not_found"
    CAPTURE_NOT_FOUND = "capture_not_found"
    INCREMENT_NOT_FOUND = "increment_not_found"
    REFUND_NOT_FOUND = "refund_not_found"
    PAYOUT_NOT_FOUND = "payout_not_found"
    DISPUTE_NOT_FOUND = "dispute_not_found"
    RUN_NOT_FOUND = "run_not_found"
    ACCOUNT_NOT_FOUND = "account_not_found"
    INSTANT_ARCHIVED = "instant_archived"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight"
    INVALID_STATE = "invalid_state"
    OPERATION_IN_DOUBT = "operation_in_doubt"
    NOT_STARTED = "not_started"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    PAYMENT_DISPUTED = "payment_disputed"
    NOT_REPLACEABLE = "not_replaceable"
    NOT_SUPPORTED = "not_supported"
    NOT_PARKED = "not_parked"
    DECISION_REFUSED = "decision_refused"
    EVENT_ALTERED = "event_altered"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    FIELD_MISSING = "field_missing"
    FIELD_UNKNOWN = "field_unknown"
    FIELD_INVALID = "field_invalid"
    AMOUNT_NOT_INTEGER = "amount_not_integer"
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    AMOUNT_TOO_LARGE = "amount_too_large"
    CURRENCY_UNKNOWN = "currency_unknown"
    CURRENCY_MISMATCH = "currency_mismatch"
    CARD_NUMBER_SUSPECTED = "card_number_suspected"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    CAPTURE_EXCEEDS_AUTHORIZATION = "capture_exceeds_authorization"
    REFUND_EXCEEDS_CAPTURED = "refund_exceeds_captured"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    CREDENTIALS_MISSING = "credentials_missing"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a code means. `kept`: where it comes after the claim it is final, stored and replayed."""

    status: int
    title: str
    advice: str  # what the initiator should do
    retryable: bool = False  # the same request with the same key may succeed later
    kept: bool = False


_CORRECTED = "Correct the request and send it with the same key."

# fmt: off
SPECS: Mapping[Code, Spec] = MappingProxyType({
    Code.MALFORMED_JSON: Spec(400, "The body is not acceptable JSON",
        "Send UTF-8 JSON, at most 8 levels deep, without NaN or Infinity."),
    Code.DUPLICATE_JSON_KEY: Spec(400, "A name occurs twice in one JSON object",
        "Send each name once: two readers could take different values."),
    Code.IDEMPOTENCY_KEY_MISSING: Spec(400, "The Idempotency-Key header is missing",
        "Send a key of your own for each thing that you want done, and the same one when you repeat."),
    Code.IDEMPOTENCY_KEY_INVALID: Spec(400, "The Idempotency-Key header is not acceptable",
        "Send it once, with 1 to 255 visible ASCII characters."),
    Code.UNAUTHENTICATED: Spec(401, "No valid credentials",
        "Send `Authorization: Bearer` with a valid token."),
    Code.SIGNATURE_INVALID: Spec(401, "The signature does not verify",
        "Only the provider itself can send this."),
    Code.SCOPE_MISSING: Spec(403, "The token does not have the scope of this operation",
        "Use a token that has the scope named in `x-scope`."),
    Code.MERCHANT_NOT_PERMITTED: Spec(403, "The client may not act for this merchant",
        "Use a client of this merchant."),
    Code.NOT_FOUND: Spec(404, "There is nothing here", "Look the path up in the OpenAPI document."),
    Code.PAYMENT_NOT_FOUND: Spec(404, "No such payment", "Check the id; payments of other clients are not shown."),
    Code.CAPTURE_NOT_FOUND: Spec(404, "No such capture",
        "Check the id. A capture that is still pending shows on its payment only."),
    Code.INCREMENT_NOT_FOUND: Spec(404, "No such increment",
        "Check the id. An increment that is still pending shows on its payment only."),
    Code.REFUND_NOT_FOUND: Spec(404, "No such refund", "Check the id; refunds of other clients are not shown."),
    Code.PAYOUT_NOT_FOUND: Spec(404, "No such payout", "Check the id; payouts of other clients are not shown."),
    Code.DISPUTE_NOT_FOUND: Spec(404, "No such dispute", "Check the id; disputes of other clients are not shown."),
    Code.RUN_NOT_FOUND: Spec(404, "No such run is open",
        "Name a payment, refund, payout or dispute, or a run by its workflow id; it may have ended."),
    Code.ACCOUNT_NOT_FOUND: Spec(404, "No such account in this currency",
        "Check code and currency; an account exists once something was posted to it."),
    Code.METHOD_NOT_ALLOWED: Spec(405, "The path does not take this method", "Use a method named in `Allow`."),
    Code.IDEMPOTENCY_KEY_IN_FLIGHT: Spec(409, "A request with this key is still being answered",
        "Wait as long as `Retry-After` says and repeat the same request.", retryable=True),
    Code.INVALID_STATE: Spec(409, "The state of the payment or payout does not allow this",
        "Read it; this key stays answered so.", kept=True),
    Code.OPERATION_IN_DOUBT: Spec(409, "An earlier operation of the payment is not decided yet",
        "Nothing was done. Wait as long as `Retry-After` says and repeat the same request.", retryable=True),
    Code.NOT_STARTED: Spec(409, "The request came too late and nothing was started",
        "Nothing happened and nothing will. If it is still wanted, ask again with a new key.", kept=True),
    Code.INSUFFICIENT_FUNDS: Spec(409, "The merchant's available balance is too small",
        "Nothing was sent. Read the balance; ask again with a new key.", kept=True),
    Code.PAYMENT_DISPUTED: Spec(409, "The payer disputes the payment",
        "Nothing was sent: the payer may get the money back by the dispute.", kept=True),
    Code.NOT_REPLACEABLE: Spec(409, "The payout to be replaced has not failed, or has been replaced",
        "Nothing was sent. Read the payout that you named.", kept=True),
    Code.NOT_SUPPORTED: Spec(409, "The provider does not offer this",
        "Nothing was sent; this provider never takes it.", kept=True),
    Code.NOT_PARKED: Spec(409, "The run does not wait for a decision about this reference",
        "Read what waits (`GET /v1/attention`); it may have been decided meanwhile."),
    Code.DECISION_REFUSED: Spec(409, "The run has not taken the decision", "Read `detail`; the approvals stand."),
    Code.EVENT_ALTERED: Spec(409, "The event id is known with other content",
        "An event's content never changes; this is looked into."),
    Code.INSTANT_ARCHIVED: Spec(410, "What stood at that instant is in the archive",
        "Ask for a later instant, or ask the operators to restore that month."),
    Code.BODY_TOO_LARGE: Spec(413, "The body is larger than 64 KiB", "Send less."),
    Code.UNSUPPORTED_MEDIA_TYPE: Spec(415, "The body is not application/json", "Send plain, uncompressed JSON."),
    Code.FIELD_MISSING: Spec(422, "A field is missing", _CORRECTED),
    Code.FIELD_UNKNOWN: Spec(422, "A field is not known", _CORRECTED),
    Code.FIELD_INVALID: Spec(422, "A field is not acceptable", _CORRECTED),
    Code.AMOUNT_NOT_INTEGER: Spec(422, "The amount is not an integer of minor units",
        "Send 1050 for 10.50 EUR, without a fraction, quotes or exponent."),
    Code.AMOUNT_NOT_POSITIVE: Spec(422, "The amount is not above zero", _CORRECTED),
    Code.AMOUNT_TOO_LARGE: Spec(422, "The amount is above what Holdfast takes", _CORRECTED),
    Code.CURRENCY_UNKNOWN: Spec(422, "The currency is not an ISO 4217 code with a minor unit",
        "Send three capital letters, such as EUR."),
    Code.CURRENCY_MISMATCH: Spec(422, "The currency is not that of the payment",
        "Use the payment's currency and a new key.", kept=True),
    Code.CARD_NUMBER_SUSPECTED: Spec(422, "Something in the request looks like a card number",
        "Never send card numbers: send the provider's token. Nothing of the request was stored or logged."),
    Code.IDEMPOTENCY_KEY_REUSED: Spec(422, "The key was used for another request",
        "Send another request with another key, or the first request unchanged."),
    Code.CAPTURE_EXCEEDS_AUTHORIZATION: Spec(422, "More than what is left of the authorization",
        "Nothing was sent. Capture less, with a new key.", kept=True),
    Code.REFUND_EXCEEDS_CAPTURED: Spec(422, "More than what can be refunded of the payment",
        "Nothing was sent. Refund less, with a new key.", kept=True),
    Code.INTERNAL_ERROR: Spec(500, "A mistake of ours",
        "Repeat the same request with the same key; it cannot happen twice.", retryable=True),
    Code.UNAVAILABLE: Spec(503, "Holdfast cannot reach its own books",
        "Repeat the same request with the same key; it cannot happen twice.", retryable=True),
    Code.ENGINE_UNAVAILABLE: Spec(503, "It is not known yet whether the request was taken",
        "Repeat the same request with the same key; it cannot happen twice.", retryable=True),
    Code.CREDENTIALS_MISSING: Spec(503, "The API has no credentials configured and answers nothing",
        "Its operator has to configure clients."),
})
# fmt: on


OF_AMOUNTS = (  # of every body that carries an amount
    Code.FIELD_MISSING,
    Code.AMOUNT_NOT_INTEGER,
    Code.AMOUNT_NOT_POSITIVE,
    Code.AMOUNT_TOO_LARGE,
    Code.CURRENCY_UNKNOWN,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong with a request, and where: never the value. `pointer` is an RFC 6901 JSON pointer."""

    code: Code
    pointer: str
    where: str = "body"  # or "query", "path", "header"


class Problem(Exception):
    """A refusal on its way to the initiator; raised inside the API only, and caught at its edge."""

    def __init__(
        self, code: Code, detail: str = "", *, flaws: tuple[Flaw, ...] = (), retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.flaws = flaws
        self.retry_after_seconds = retry_after_seconds

    @property
    def spec(self) -> Spec:
        """What the code means."""
        return SPECS[self.code]

    def answer(self, request_id: str) -> Answer:
        """Lay the problem out as an answer."""
        headers = [("Content-Type", PROBLEM_JSON)]
        if self.retry_after_seconds is not None:
            headers.append(("Retry-After", str(self.retry_after_seconds)))
        if self.code is Code.UNAUTHENTICATED:
            headers.append(("WWW-Authenticate", 'Bearer realm="holdfast"'))
        body = self._body(request_id)
        return Answer(status=self.spec.status, body=body, headers=tuple(headers), code=self.code)

    def _body(self, request_id: str) -> bytes:
        spec = self.spec
        content = {
            "type": f"{TYPE}{self.code}",
            "title": spec.title,
            "status": spec.status,
            "detail": self.detail or spec.advice,
            "code": self.code,
            "request_id": request_id,
            "retryable": spec.retryable,
            "errors": [{"code": flaw.code, "in": flaw.where, "pointer": flaw.pointer} for flaw in self.flaws],
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
