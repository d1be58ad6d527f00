"""The ledger's sealer, verifier and archive, put together from the settings, for upkeep and for a person's commands."""

import asyncpg

from domain.errors import HoldfastError
from ledger.archive import Archive, Progress, silent
from ledger.archive_files import FolderStore
from ledger.checks import Verifier
from ledger.seal_keys import SealKey, SealPublicKey
from ledger.seals import Sealer, SealFile
from workers.settings import Settings


class NoSealKey(HoldfastError):
    """The settings have no key to sign seals with."""


def sealer(pool: asyncpg.Pool, settings: Settings) -> Sealer:
    """What seals the book behind `pool`. Raises `NoSealKey`, and `BadSealKey` for a key that is none."""
    if settings.seal_key is None:
        raise NoSealKey("HOLDFAST_SEAL_KEY is not set: `holdfast ledger new-seal-key` makes one")
    return Sealer(pool, SealKey.parse(settings.seal_key.get_secret_value()), SealFile(settings.seal_file))


def verifier(pool: asyncpg.Pool, settings: Settings) -> Verifier:
    """What verifies the book behind `pool`, by the keys and the file of seals that are trusted. Raises `BadSealKey`."""
    return Verifier(pool, public_keys(settings), SealFile(settings.seal_file))


def public_keys(settings: Settings) -> list[SealPublicKey]:
    """The keys whose seals are believed. Raises `BadSealKey`."""
    return [SealPublicKey.parse(text) for text in settings.seal_public_keys.split(",") if text.strip()]


def archive(pool: asyncpg.Pool, settings: Settings, actor: str, progress: Progress = silent) -> Archive:
    """What takes months out of the book behind `pool`, and puts them back; events name `actor`."""
    return Archive(pool, FolderStore(settings.archive_directory), actor, progress)
