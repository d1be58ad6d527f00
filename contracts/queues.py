"""Task queues, workflow types and workflow ids."""

from datetime import timedelta

from domain.ids import OperationId, Prefix, Reference, operation_of

PAYMENTS = "payments"  # workflows, and the activities of our own books

# A workflow task takes milliseconds, and its local activities keep it alive. One that a worker was given as it died is
# another's after so long, not after ten seconds, which is the default. Whoever starts a run names it.
TASK_TIMEOUT = timedelta(seconds=3)

WORKFLOW_OF = {
    Prefix.PAYMENT: "payment",
    Prefix.REFUND: "refund",
    Prefix.PAYOUT: "payout",
    Prefix.DISPUTE: "dispute",
}


def effects(provider: str) -> str:
    """Name the queue of a provider's effects."""
    return f"provider-{provider}"


def repair(provider: str) -> str:
    """Name the queue of its inquiries and undos, which new payments cannot starve (money rule 5)."""
    return f"provider-{provider}-repair"


def workflow_id(operation: OperationId) -> str:
    """Name the run that a payment, a refund, a payout or a dispute starts, e.g. `payment/pay_01h…`."""
    return f"{WORKFLOW_OF[Prefix(operation.split('_', 1)[0])]}/{operation}"


def late_id(provider: str, event: str) -> str:
    """Name the run that settles a fact which came after its operation's run had closed (money rule 14)."""
    return f"late/{provider}/{event}"


def starts_a_run(reference: Reference) -> bool:
    """Tell whether a reference's operation has a run of its own; captures and voids live in their payment's."""
    return operation_of(reference).split("_", 1)[0] in WORKFLOW_OF
