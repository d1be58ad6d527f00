"""The keys that sign seals (Ed25519). The private one is the sealer's alone; public ones are kept by whoever verifies.

Neither is ever in the database: who can change a row there must not be able to sign what comes of it.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from domain.errors import HoldfastError

KEY_BYTES = 32
CONTEXT = b"holdfast ledger seal 1\n"  # signed along, so that a signature means a seal and nothing else


class BadSealKey(HoldfastError, ValueError):
    """A text that is no Ed25519 key. The text itself is never told: it may be a private key."""


@dataclass(frozen=True, slots=True)
class SealPublicKey:
    """What verifies a seal's signature."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a public key: PEM, or base64 of its 32 bytes. Raises `BadSealKey`."""
        if text.lstrip().startswith("-----"):
            try:
                key = load_pem_public_key(text.encode())
            except ValueError:
                raise BadSealKey("a public key of seals is not readable PEM") from None
            if not isinstance(key, Ed25519PublicKey):
                raise BadSealKey("a public key of seals is not of Ed25519")
            return cls(key.public_bytes_raw())
        return cls(_decoded(text))

    @property
    def id(self) -> str:
        """The key's name in the seals that it signs: the beginning of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def text(self) -> str:
        return base64.b64encode(self.raw).decode()

    def signed(self, root: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's, of this root."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, CONTEXT + root)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, repr=False)
class SealKey:
    """What signs seals. It has no readable form but `text`, which is a secret."""

    seed: bytes

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a private key: PEM without a password, or base64 of its 32 bytes. Raises `BadSealKey`."""
        if text.lstrip().startswith("-----"):
            try:
                key = load_pem_private_key(text.encode(), password=None)
            except (ValueError, TypeError):
                raise BadSealKey("the key that signs seals is not readable PEM without a password") from None
            if not isinstance(key, Ed25519PrivateKey):
                raise BadSealKey("the key that signs seals is not of Ed25519")
            return cls(key.private_bytes_raw())
        return cls(_decoded(text))

    @property
    def text(self) -> str:
        """The key as a setting takes it: base64. A secret."""
        return base64.b64encode(self.seed).decode()

    @property
    def public(self) -> SealPublicKey:
        return SealPublicKey(self._private.public_key().public_bytes_raw())

    def sign(self, root: bytes) -> bytes:
        """Sign the root of a seal."""
        return self._private.sign(CONTEXT + root)

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadSealKey("a key of seals is neither PEM nor base64") from None
    if len(raw) != KEY_BYTES:
        raise BadSealKey(f"a key of seals has {KEY_BYTES} bytes, not {len(raw)}")
    return raw
