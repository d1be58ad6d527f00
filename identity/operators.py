"""The people who operate Holdfast: named, each known by a token of which only the digest is kept.

Two of them decide what may move money (money rule 15), so no two names share a token. Knows nothing of payments.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from domain.errors import HoldfastError

NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")
DIGEST = re.compile(r"[0-9a-f]{64}")
TOKEN_BYTES = 32  # a digest without salt protects only what nobody can guess
BEGINNING = "op_"  # so that a token that lies about is recognised


class OperatorScope(StrEnum):
    """What an operator's token may be used for."""

    READ = "operations:read"
    APPROVE = "operations:approve"  # give one of two approvals
    ACT = "operations:act"  # have the world looked at again; moves no money


class BadOperators(HoldfastError):
    """The operators are not written as `name:digest` or `name:digest:read+act`, or two of them are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One person, and what their token may be used for."""

    name: str
    scopes: frozenset[OperatorScope]


class Operators:
    """Everybody who operates this installation."""

    def __init__(self, by_digest: dict[bytes, Operator]) -> None:
        self._by_digest = by_digest

    @property
    def names(self) -> list[str]:
        """Who there is."""
        return sorted(operator.name for operator in self._by_digest.values())

    def authenticate(self, token: str) -> Operator | None:
        """Tell whose token this is; None where it is nobody's. Every digest is compared, whichever fits."""
        asked, found = _digest(token), None
        for digest, operator in self._by_digest.items():
            if hmac.compare_digest(digest, asked):
                found = operator
        return found


def parse(text: str) -> Operators:
    """Read `ann:<SHA-256 of the token in hex>,bob:<…>:read+act`; without scopes an operator has all of them.

    Raises `BadOperators`. Empty text is nobody.
    """
    by_digest: dict[bytes, Operator] = {}
    for number, entry in enumerate(filter(None, (each.strip() for each in text.split(","))), start=1):
        name, _, rest = entry.partition(":")
        digest, _, scopes = rest.partition(":")
        if not NAME.fullmatch(name) or not DIGEST.fullmatch(digest):
            raise BadOperators(f"operator {number} is not a name and the SHA-256 of a token in lower-case hex")
        if bytes.fromhex(digest) in by_digest or name in {each.name for each in by_digest.values()}:
            raise BadOperators(
                f"operator {number} has the name or the token of another: two people are needed, not one"
            )
        by_digest[bytes.fromhex(digest)] = Operator(name=name, scopes=_scopes(scopes, number))
    return Operators(by_digest)


def new_token() -> str:
    """Make a token for a new operator."""
    return f"{BEGINNING}{secrets.token_urlsafe(TOKEN_BYTES)}"


def entry(name: str, token: str) -> str:
    """Write an operator as the setting has it. Raises `BadOperators` for a name that cannot be."""
    if not NAME.fullmatch(name):
        raise BadOperators("an operator's name is 1 to 32 characters of a-z, 0-9, `.`, `_` and `-`, a letter first")
    return f"{name}:{_digest(token).hex()}"


def _scopes(text: str, number: int) -> frozenset[OperatorScope]:
    if not text:
        return frozenset(OperatorScope)
    known = {scope.removeprefix("operations:"): scope for scope in OperatorScope}
    try:
        return frozenset(known[word] for word in text.split("+"))
    except KeyError:
        raise BadOperators(f"operator {number} has a scope other than {', '.join(known)}") from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
