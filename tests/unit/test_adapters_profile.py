"""The profile: amounts, keys, and the nesting of deadlines (money rule 5)."""

import re
import ssl
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from adapters import profile as profiles
from adapters.port import PaymentProvider
from adapters.profile import Amounts, Deadlines, Profile, encode
from adapters.providers.simulator import client
from adapters.resilience import Unsupported, wrap
from adapters.wire import PAUSE_SECONDS_MAX, Wire, _is_untrusted, retry_after  # pyright: ignore[reportPrivateUsage]
from domain.commands import Effect, Patience
from domain.ids import ID_LENGTH, Prefix, Reference, Verb, derive, effect_reference
from domain.money import Money
from workers.providers import profile_of_simulator
from workers.settings import Settings

SIMULATOR = profile_of_simulator(Settings())
MINOR = replace(SIMULATOR, amounts=Amounts.MINOR)


@pytest.mark.parametrize("verb", Verb)
def test_the_deadlines_of_the_default_settings_nest(verb: Verb) -> None:
    deadlines = SIMULATOR.deadlines_of(verb)
    promises = SIMULATOR.promises(Patience())
    assert promises.horizon_seconds is not None
    nested = [deadlines.connect, deadlines.total, deadlines.call, promises.start_to_close_seconds]
    assert [*nested, promises.horizon_seconds] == sorted({*nested, promises.horizon_seconds})


def test_the_start_to_close_covers_a_place_the_longest_call_and_its_journalling() -> None:
    slow = replace(SIMULATOR, deadlines={Verb.PAY_OUT: Deadlines(connect=1, total=3)})
    assert slow.start_to_close == profiles.PLACE_SECONDS + (1 + 1 + 3) + profiles.JOURNAL_SECONDS


def test_a_horizon_that_a_call_can_outlast_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond the horizon"):
        client.profile(horizon=timedelta(seconds=6), attention_after=timedelta(minutes=15))


def test_a_horizon_of_never_is_told_as_none() -> None:
    assert replace(SIMULATOR, horizon=None).promises(Patience()).horizon_seconds is None


@pytest.mark.parametrize("verb", [Verb.INCREMENT, Verb.RECALL])
def test_a_run_is_told_whether_an_authorization_can_be_raised_and_a_payout_called_back(verb: Verb) -> None:
    promises = SIMULATOR.promises(Patience())
    assert (promises.increments, promises.recalls) == (True, True)
    without = replace(SIMULATOR, operations=SIMULATOR.operations - {verb}).promises(Patience())
    assert (without.increments, without.recalls) == (verb is not Verb.INCREMENT, verb is not Verb.RECALL)


@pytest.mark.parametrize(
    ("profile", "money", "written"),
    [
        (SIMULATOR, Money(1050, "EUR"), "10.50"),
        (SIMULATOR, Money(5, "EUR"), "0.05"),
        (SIMULATOR, Money(500, "JPY"), "500"),
        (SIMULATOR, Money(1234, "KWD"), "1.234"),
        (MINOR, Money(1050, "EUR"), 1050),
        (MINOR, Money(500, "JPY"), 500),
        (replace(SIMULATOR, exponents={"HUF": 0}), Money(5000, "HUF"), "50"),
        (replace(MINOR, exponents={"HUF": 0}), Money(5000, "HUF"), 50),
        (replace(SIMULATOR, exponents={"ISK": 2}), Money(500, "ISK"), "500.00"),
        (replace(MINOR, exponents={"ISK": 2}), Money(500, "ISK"), 50000),
        (replace(MINOR, exponents={"KWD": 2}), Money(1230, "KWD"), 123),
    ],
)
def test_an_amount_is_written_exactly(profile: Profile, money: Money, written: int | str) -> None:
    assert encode(profile, money) == written


def test_an_amount_that_the_providers_decimals_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot say"):
        encode(replace(SIMULATOR, exponents={"KWD": 2}), Money(1234, "KWD"))


@pytest.mark.parametrize("prefix", Prefix)
def test_the_simulator_carries_every_reference(prefix: Prefix) -> None:
    operation = derive(prefix, client="c", mode="test", operation="o", key="k")
    assert len(operation) == len(prefix) + 1 + ID_LENGTH
    assert SIMULATOR.key.carries(effect_reference(operation, Verb.AUTHORIZE, 9))


@pytest.mark.parametrize("reference", ["", "a" * 41, "pay 1", "pay_1\r\nX: y", "pay_é", "pay_1.a1\n"])
def test_a_reference_that_the_key_cannot_carry_is_seen(reference: str) -> None:
    assert not SIMULATOR.key.carries(reference)


def _effect(reference: str = "pay_1.a1") -> Effect:
    return Effect(reference=Reference(reference), provider="simulator", money=Money(100, "EUR"))


def _port(profile: Profile) -> PaymentProvider:
    """Nothing listens at port 9: a call that was made would be unavailable."""
    return wrap(client.Simulator(Wire(profile, "http://127.0.0.1:9"), "s"), profile, _tell)


def _tell(_verb: Verb, _reference: str, _came: str, _seconds: float, /) -> None:
    return


@pytest.mark.parametrize("verb", sorted(SIMULATOR.operations - {Verb.CAPTURE}))
async def test_what_the_profile_does_not_offer_is_refused_before_any_call(verb: Verb) -> None:
    with pytest.raises(Unsupported, match=f"does not {verb}"):
        await getattr(_port(replace(SIMULATOR, operations=frozenset({Verb.CAPTURE}))), verb)(_effect())


async def test_a_key_that_does_not_fit_is_refused_before_any_call() -> None:
    with pytest.raises(Unsupported, match="cannot carry the key"):
        await _port(SIMULATOR).authorize(_effect("a" * 41))


async def test_a_second_capture_is_refused_where_the_provider_captures_once() -> None:
    with pytest.raises(Unsupported, match="captures once"):
        await _port(replace(SIMULATOR, multiple_capture=False)).capture(_effect())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2", 2.0),
        ("0.4", 0.4),
        ("0", 0.0),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", PAUSE_SECONDS_MAX),
        ("100000", PAUSE_SECONDS_MAX),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_seconds_and_never_beyond_the_limit(said: str | None, seconds: float | None) -> None:
    assert retry_after(said) == seconds


def test_a_refused_certificate_is_found_in_the_chain_of_causes() -> None:
    failure = httpx.ConnectError("certificate verify failed")
    failure.__cause__ = OSError("from below")
    failure.__cause__.__context__ = ssl.SSLCertVerificationError("unable to get local issuer certificate")
    assert _is_untrusted(failure)
    assert not _is_untrusted(httpx.ConnectError("refused"))


def test_the_charset_of_a_key_is_a_class_of_single_characters() -> None:
    assert re.fullmatch(r"\[[^\]]+\]", SIMULATOR.key.charset)
