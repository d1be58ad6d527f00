"""What an activity does between the call journal and the wire, with both of them made up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import provider
from activities.provider import ProviderCalls
from adapters.port import PaymentProvider
from contracts.provider import UNAVAILABLE
from domain.commands import Effect
from domain.ids import Reference
from domain.money import Money
from domain.outcomes import DONE, Answer, Outcome
from records.calls import CallJournal, Go

EFFECT = Effect(reference=Reference("cap_1.c1"), on=Reference("pay_1.a1"), provider="p", money=Money(100, "EUR"))


@dataclass
class Clock:
    """The present, which the journal may let pass."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now


@dataclass
class Journal:
    """Lets every call go on, after some time."""

    clock: Clock
    takes: float
    completed: list[Answer] = field(default_factory=list[Answer])

    async def begin(self, *_: object) -> Go:
        self.clock.now += self.takes
        return Go(1)

    async def complete(self, *noted: Any) -> None:
        self.completed.append(noted[4])


@dataclass
class Port:
    """Counts what reaches the wire."""

    sent: list[Effect] = field(default_factory=list[Effect])

    async def capture(self, effect: Effect) -> Answer:
        self.sent.append(effect)
        return DONE


def made(monkeypatch: pytest.MonkeyPatch, takes: float) -> tuple[ProviderCalls, Journal, Port]:
    clock, port = Clock(), Port()
    journal = Journal(clock, takes)
    monkeypatch.setattr(provider, "time", clock)
    ports = cast(Mapping[str, PaymentProvider], {"p": port})
    return ProviderCalls(ports, cast(CallJournal, journal)), journal, port


async def test_a_process_that_stood_still_before_the_wire_sends_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, journal, port = made(monkeypatch, provider.SENT_WITHIN_SECONDS + 0.1)
    with pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(calls.capture, EFFECT)
    assert caught.value.type == UNAVAILABLE
    assert port.sent == []
    assert [each.outcome for each in journal.completed] == [Outcome.UNAVAILABLE]


async def test_a_slow_journal_is_no_reason_not_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, journal, port = made(monkeypatch, provider.SENT_WITHIN_SECONDS - 0.1)
    assert await ActivityEnvironment().run(calls.capture, EFFECT) == DONE
    assert port.sent == [EFFECT]
    assert journal.completed == [DONE]
