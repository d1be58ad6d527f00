"""Operators: known by whole tokens, written as digests, and never one person under two names."""

import hashlib

import pytest

from identity import operators
from identity.operators import BadOperators, OperatorScope

ANN, BOB = operators.new_token(), operators.new_token()
DIGEST = hashlib.sha256(b"a token").hexdigest()
OTHER = hashlib.sha256(b"another").hexdigest()


def test_a_whole_token_names_its_operator_and_nothing_else_does() -> None:
    known = operators.parse(f"{operators.entry('ann', ANN)}, {operators.entry('bob', BOB)}")
    assert known.names == ["ann", "bob"]
    for name, token in (("ann", ANN), ("bob", BOB)):
        found = known.authenticate(token)
        assert found is not None
        assert (found.name, found.scopes) == (name, frozenset(OperatorScope))
    for wrong in ("", ANN[:-1], f"{ANN}x", ANN.upper(), f" {ANN}", "\udcff", operators.entry("ann", ANN)):
        assert known.authenticate(wrong) is None


def test_what_is_written_down_does_not_let_anybody_in() -> None:
    assert ANN not in operators.entry("ann", ANN)
    assert len({operators.new_token() for _ in range(100)}) == 100


def test_an_operator_may_have_some_of_the_scopes() -> None:
    reader = operators.parse(f"eve:{DIGEST}:read+act").authenticate("a token")
    assert reader is not None
    assert reader.scopes == {OperatorScope.READ, OperatorScope.ACT}


def test_without_operators_nobody_is_let_in() -> None:
    nobody = operators.parse("")
    assert nobody.names == []
    assert nobody.authenticate("") is None


@pytest.mark.parametrize(
    "text",
    [
        "ann",
        "ann:",
        "ann:short",
        f":{DIGEST}",
        f"Ann:{DIGEST}",
        f"ann:{DIGEST.upper()}",
        f"ann:{DIGEST}:write",
        f"ann:{DIGEST}:read+",
        f"{'a' * 33}:{DIGEST}",
    ],
)
def test_what_cannot_be_read_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadOperators) as refused:
        operators.parse(text)
    assert DIGEST not in str(refused.value).lower()


@pytest.mark.parametrize("second", [f"ann:{OTHER}", f"bob:{DIGEST}"], ids=["one name", "one token"])
def test_one_person_is_not_two_operators(second: str) -> None:
    with pytest.raises(BadOperators, match="two people"):
        operators.parse(f"ann:{DIGEST},{second}")


def test_a_name_that_cannot_be_gets_no_entry() -> None:
    with pytest.raises(BadOperators):
        operators.entry("ann:x", ANN)
