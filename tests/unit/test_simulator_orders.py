"""What the simulator reads: orders field by field, amounts digit by digit."""

import json

import pytest

from domain.currencies import EXPONENTS
from simulator.fields import Malformed
from simulator.orders import Authorise, Collect, Increment, Operation, Pointer, Recall, Value, read_order
from simulator.units import DECIMALS, amount_of, minor_of

KEY = "pay_1.a1"


def _read(operation: Operation, body: object) -> object:
    return read_order(operation, KEY, json.dumps(body).encode())


def _faults(operation: Operation, body: object) -> set[str]:
    with pytest.raises(Malformed) as malformed:
        _read(operation, body)
    return set(malformed.value.faults)


def test_two_tables_made_apart_agree_on_every_currency() -> None:
    assert dict(DECIMALS) == dict(EXPONENTS)


@pytest.mark.parametrize(
    ("minor", "amount", "unit"),
    [(1050, "10.50", "EUR"), (5, "0.05", "EUR"), (500, "500", "JPY"), (1234, "1.234", "KWD"), (7, "0.0007", "CLF")],
)
def test_an_amount_has_exactly_the_decimals_of_its_unit(minor: int, amount: str, unit: str) -> None:
    assert amount_of(minor, unit) == amount
    assert minor_of(amount, unit) == minor


@pytest.mark.parametrize(
    ("amount", "unit"),
    [
        ("10.5", "EUR"),
        ("10.500", "EUR"),
        ("10", "EUR"),
        ("500.0", "JPY"),
        ("1.23", "KWD"),
        ("-1.00", "EUR"),
        ("1e2", "EUR"),
        ("01.00", "EUR"),
        (" 1.00", "EUR"),
        ("١.00", "EUR"),
        ("", "EUR"),
        ("1.00", "eur"),
        ("1.00", "XXX"),
    ],
)
def test_any_other_amount_is_refused(amount: str, unit: str) -> None:
    with pytest.raises(ValueError, match=r"amount|unit"):
        minor_of(amount, unit)


def test_an_order_is_read() -> None:
    body = {"merchantRef": KEY, "value": {"amount": "10.50", "unit": "EUR"}, "source": {"token": "tok_visa"}}
    assert _read(Operation.AUTHORISE, body) == Authorise(KEY, Value(1050, "EUR"), "tok_visa")


def test_an_authorisation_is_pointed_at_by_id_or_by_reference_and_last_is_false_if_not_said() -> None:
    body = {"merchantRef": KEY, "value": {"amount": "1.00", "unit": "EUR"}}
    by_id = _read(Operation.COLLECT, body | {"authorisation": "au_1"})
    by_reference = _read(Operation.COLLECT, body | {"authorisationRef": "pay_1.a1", "authorisation": None})
    assert by_id == Collect(KEY, Value(100, "EUR"), Pointer("au_1", ""), last=False)
    assert by_reference == Collect(KEY, Value(100, "EUR"), Pointer("", "pay_1.a1"), last=False)


def test_an_increment_points_at_an_authorisation_and_a_recall_at_a_transfer() -> None:
    body = {"merchantRef": KEY, "value": {"amount": "1.00", "unit": "EUR"}}
    increment = _read(Operation.INCREMENT, body | {"authorisationRef": "pay_1.a1"})
    recall = _read(Operation.RECALL, body | {"transferRef": "po_1.p1"})
    assert increment == Increment(KEY, Value(100, "EUR"), Pointer("", "pay_1.a1"))
    assert recall == Recall(KEY, Value(100, "EUR"), Pointer("", "po_1.p1"))
    assert _read(Operation.RECALL, body | {"transfer": "tr_1"}) == Recall(KEY, Value(100, "EUR"), Pointer("tr_1", ""))
    assert _faults(Operation.RECALL, body | {"authorisation": "au_1"}) == {"transfer"}


def test_fields_that_are_not_known_pass() -> None:
    _read(Operation.RELEASE, {"merchantRef": KEY, "authorisation": "au_1", "colour": "blue"})


def test_every_wrong_field_is_named_at_once() -> None:
    assert _faults(Operation.COLLECT, {"value": {"amount": "1.0", "unit": "EUR"}, "last": "yes"}) == {
        "merchantRef",
        "value.amount",
        "authorisation",
        "last",
    }


@pytest.mark.parametrize("amount", ["0.00", "0.001", 1.0, None])
def test_an_order_moves_something(amount: object) -> None:
    body = {"merchantRef": KEY, "value": {"amount": amount, "unit": "EUR"}, "source": {"token": "tok_visa"}}
    assert _faults(Operation.AUTHORISE, body) == {"value.amount"}


def test_the_reference_is_the_key_and_has_at_most_forty_characters() -> None:
    body = {"authorisation": "au_1"}
    assert _faults(Operation.RELEASE, {**body, "merchantRef": "pay_2.a1"}) == {"merchantRef"}
    long = "x" * 41
    with pytest.raises(Malformed):
        read_order(Operation.RELEASE, long, json.dumps({**body, "merchantRef": long}).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_order(Operation.RELEASE, KEY, body)
