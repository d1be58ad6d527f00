"""What the preparation of every run has in common: admission, risk and the reservation in the ledger."""

from domain.commands import Prepare, Start


def of(start: Start) -> Prepare:
    """The command that prepares a run; each lifecycle adds what only it has."""
    return Prepare(
        operation=start.id,
        client=start.client,
        merchant=start.merchant,
        provider=start.promises.provider,
        money=start.money,
        fingerprint=start.fingerprint,
        admit_until=start.admit_until,
        merchant_reference=start.merchant_reference,
    )
