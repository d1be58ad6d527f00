"""Provider calls as activities: journal the intent, make one wire call, journal what was answered (money rule 5).

Who repeats: an effect is sent once and its error tells the saga engine what is known; an undo or an inquiry is
repeated by Temporal until it answers, after a pause with full jitter that respects the provider's Retry-After.
"""

import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from adapters.port import PaymentProvider
from contracts.provider import UNAVAILABLE, UNKNOWN, Provider
from domain.commands import Effect, Inquiry
from domain.errors import Conflict, Unavailable, Unknown
from domain.ids import Reference, Verb
from domain.outcomes import Answer, Outcome
from records.calls import CallJournal, Differs, Go, Known, Withheld

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds; money rule 5
SENT_WITHIN_SECONDS = 5.0  # of asking the journal: below any activity's deadline, so that "absent" is not proven yet
UNDECIDED = (Outcome.PENDING, Outcome.UNKNOWN)

log = structlog.get_logger()


class ProviderCalls(Provider):
    """The provider contract over the adapters' ports, one per provider, and the call journal."""

    def __init__(self, ports: Mapping[str, PaymentProvider], calls: CallJournal) -> None:
        self._ports = ports
        self._calls = calls

    @activity.defn(name="provider.authorize")
    async def authorize(self, effect: Effect) -> Answer:
        return await self._effect(Verb.AUTHORIZE, effect, self._ports[effect.provider].authorize)

    @activity.defn(name="provider.capture")
    async def capture(self, effect: Effect) -> Answer:
        return await self._effect(Verb.CAPTURE, effect, self._ports[effect.provider].capture)

    @activity.defn(name="provider.refund")
    async def refund(self, effect: Effect) -> Answer:
        return await self._effect(Verb.REFUND, effect, self._ports[effect.provider].refund)

    @activity.defn(name="provider.pay_out")
    async def pay_out(self, effect: Effect) -> Answer:
        return await self._effect(Verb.PAY_OUT, effect, self._ports[effect.provider].pay_out)

    @activity.defn(name="provider.increment")
    async def increment(self, effect: Effect) -> Answer:
        return await self._effect(Verb.INCREMENT, effect, self._ports[effect.provider].increment)

    @activity.defn(name="provider.recall")
    async def recall(self, effect: Effect) -> Answer:
        return await self._effect(Verb.RECALL, effect, self._ports[effect.provider].recall)

    @activity.defn(name="provider.void")
    async def void(self, effect: Effect) -> Answer:
        answer = await self._again(
            Verb.VOID, effect, lambda: self._ports[effect.provider].void(effect), digest(Verb.VOID, effect)
        )
        assert answer is not None
        if answer.outcome in UNDECIDED:  # an undo is asked for until it is done or refused
            raise self._unknown(f"{effect.reference}: the void is {answer.outcome}; it is asked for again", again=True)
        return answer

    @activity.defn(name="provider.inquire")
    async def inquire(self, inquiry: Inquiry) -> Answer | None:
        return await self._again(
            Verb("arrive") if inquiry.verb is Verb.ARRIVE else inquiry.verb,
            inquiry,
            lambda: self._ports[inquiry.provider].inquire(inquiry),
            hashlib.sha256(f"inquire\0{inquiry.on}".encode()).digest(),
        )

    async def _effect(self, verb: Verb, effect: Effect, call: Callable[[Effect], Awaitable[Answer]]) -> Answer:
        """Send an effect unless the journal knows what became of it."""
        asked = time.monotonic()
        try:
            gate = await self._calls.begin(effect.provider, effect.reference, verb, digest(verb, effect), _run())
        except Exception as failure:
            why = f"{effect.reference}: the call journal could not be written, so nothing was sent ({failure})"
            raise self._unavailable(why, None) from failure
        match gate:
            case Known(answer=answer):
                return answer
            case Differs():
                return Answer(outcome=Outcome.CONFLICT, reason="the reference was sent before with other content")
            case Withheld(since=since):
                raise self._unknown(f"{effect.reference} was sent at {since} and its answer is not known: inquire")
            case Go(number=number):
                pass
        began = time.perf_counter()
        if time.monotonic() - asked > SENT_WITHIN_SECONDS:  # frozen: by now others may have proven its absence
            why = "the process stood still between journal and wire; nothing was sent"
            await self._complete(verb, effect, number, Answer(outcome=Outcome.UNAVAILABLE, reason=why), began)
            raise self._unavailable(f"{effect.reference}: {why}", None)
        try:
            answer = await call(effect)
        except Unavailable as failure:
            known = Answer(outcome=Outcome.UNAVAILABLE, reason=str(failure))
            await self._complete(verb, effect, number, known, began)
            raise self._unavailable(f"{effect.reference}: {failure}", failure.after_seconds) from failure
        except Unknown as failure:
            known = Answer(outcome=Outcome.UNKNOWN, reason=str(failure), provider_id=failure.provider_id)
            await self._complete(verb, effect, number, known, began)
            if failure.provider_id:
                return known
            raise self._unknown(f"{effect.reference} may have happened: {failure}") from failure
        except Conflict as failure:
            answer = Answer(outcome=Outcome.CONFLICT, reason=str(failure))
        await self._complete(verb, effect, number, answer, began)
        return answer

    async def _again(
        self, verb: Verb, command: Effect | Inquiry, call: Callable[[], Awaitable[Answer | None]], content: bytes
    ) -> Answer | None:
        """Make a call that may be repeated at will; it is journalled, and never withheld."""
        asked = command.reference or command.on
        kind = verb if isinstance(command, Effect) else "inquire"
        number: int | None = None
        try:
            gate = await self._calls.begin(command.provider, asked, kind, content, _run())
            number = gate.number if isinstance(gate, Go) else None
        except Exception as failure:  # noqa: BLE001  a question is harmless: it is asked even where it cannot be noted
            log.warning("call.not_journalled", reference=asked, failure=str(failure))
        began, known = time.perf_counter(), Answer(outcome=Outcome.UNKNOWN)
        try:
            answer = await call()
            known = answer or Answer(outcome=Outcome.UNKNOWN, reason="nothing found")
            return answer
        except Unavailable as failure:
            known = Answer(outcome=Outcome.UNAVAILABLE, reason=str(failure))
            raise self._unavailable(f"{asked}: {failure}", failure.after_seconds, again=True) from failure
        except Unknown as failure:
            known = Answer(outcome=Outcome.UNKNOWN, reason=str(failure))
            raise self._unknown(f"{asked}: {failure}", again=True) from failure
        except Conflict as failure:
            known = Answer(outcome=Outcome.CONFLICT, reason=str(failure))
            return known
        finally:
            if number is not None:
                await self._note(command.provider, asked, kind, number, known, began)

    async def _complete(self, verb: Verb, effect: Effect, number: int, answer: Answer, began: float) -> None:
        await self._note(effect.provider, effect.reference, verb, number, answer, began)

    async def _note(
        self, provider: str, asked: Reference, kind: str, number: int, answer: Answer, began: float
    ) -> None:
        """Complete the journal's row. If that fails the answer still counts; the row stays open."""
        seconds = time.perf_counter() - began
        try:
            await self._calls.complete(provider, asked, kind, number, answer, seconds)
        except Exception as failure:
            log.exception("call.not_completed", reference=asked, failure=str(failure))

    def _unavailable(self, why: str, after: float | None, *, again: bool = False) -> ApplicationError:
        pause = max(_jitter() if again else 0.0, after or 0.0)
        return ApplicationError(
            why,
            type=UNAVAILABLE,
            next_retry_delay=timedelta(seconds=pause) if pause else None,
            category=ApplicationErrorCategory.BENIGN,
        )

    def _unknown(self, why: str, *, again: bool = False) -> ApplicationError:
        pause = timedelta(seconds=_jitter()) if again else None
        return ApplicationError(
            why,
            type=UNKNOWN,
            non_retryable=not again,
            next_retry_delay=pause,
            category=ApplicationErrorCategory.BENIGN,  # the saga engine knows what to do: no trace in the log
        )


def digest(verb: str, effect: Effect) -> bytes:
    """Digest what an effect asks for, so that the same reference with other content is seen."""
    money = effect.money
    parts = (verb, effect.reference, effect.on, effect.instrument, str(money.minor), money.currency, str(effect.final))
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _run() -> str:
    """The workflow that asks."""
    return activity.info().workflow_id or ""


def _jitter() -> float:
    """Full jitter under a doubling cap; Temporal's own policy has none."""
    cap = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(activity.info().attempt - 1, 16))
    return random.uniform(0.05, cap)  # noqa: S311  not for secrets
