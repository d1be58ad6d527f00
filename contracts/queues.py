"""Task queues, workflow types and workflow ids."""

from domain.ids import OperationId, Prefix, Reference, operation_of

PAYMENTS = "payments"  # workflows, and the activities of our own books

WORKFLOW_OF = {Prefix.PAYMENT: "payment", Prefix.REFUND: "refund", Prefix.PAYOUT: "payout"}


def effects(provider: str) -> str:
    """Name the queue of a provider's effects."""
    return f"provider-{provider}"


def repair(provider: str) -> str:
    """Name the queue of its inquiries and undos, which new payments cannot starve (money rule 5)."""
    return f"provider-{provider}-repair"


def workflow_id(operation: OperationId) -> str:
    """Name the run that a payment, a refund or a payout starts, e.g. `payment/pay_01h…`."""
    return f"{WORKFLOW_OF[Prefix(operation.split('_', 1)[0])]}/{operation}"


def starts_a_run(reference: Reference) -> bool:
    """Tell whether a reference's operation has a run of its own; captures and voids live in their payment's."""
    return operation_of(reference).split("_", 1)[0] in WORKFLOW_OF
