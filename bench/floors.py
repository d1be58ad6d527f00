"""Bare workflows with the same number and kind of activities as an authorization, and nothing else: the floor.

`Bare` is what the product does on this server with nothing of the product in it: one local activity, one regular on a
provider's queue, and one regular after the answer. `Naive` is how the same is commonly written: four regular
activities on one queue, one after the other, and the answer at the end.
"""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

SECONDS = timedelta(seconds=10)
PROVIDER_QUEUE = "provider-bare"


@dataclass(frozen=True)
class Ask:
    """A payload of the size that a command has."""

    id: str
    text: str = "x" * 400


class Bares:
    """Activities that do nothing."""

    @activity.defn(name="bare.local")
    async def local(self, ask: Ask) -> str:
        return ask.id

    @activity.defn(name="bare.regular")
    async def regular(self, ask: Ask) -> str:
        return ask.id


@workflow.defn(name="Bare")
class Bare:
    """One local activity, one regular on another queue, the answer, one regular as the tail."""

    def __init__(self) -> None:
        self.answered = False

    @workflow.run
    async def run(self, ask: Ask) -> None:
        await workflow.execute_local_activity_method(Bares.local, ask, start_to_close_timeout=SECONDS)
        await workflow.execute_activity_method(
            Bares.regular, ask, start_to_close_timeout=SECONDS, task_queue=PROVIDER_QUEUE
        )
        self.answered = True
        await workflow.execute_activity_method(Bares.regular, ask, start_to_close_timeout=SECONDS)
        await workflow.wait_condition(lambda: False, timeout=timedelta(days=7))

    @workflow.update
    async def authorize(self, ask: Ask) -> str:
        """Answer after the second activity."""
        await workflow.wait_condition(lambda: self.answered)
        return ask.id


@workflow.defn(name="Naive")
class Naive:
    """Four regular activities in a row, the answer at the end."""

    def __init__(self) -> None:
        self.answered = False

    @workflow.run
    async def run(self, ask: Ask) -> None:
        for _ in range(4):
            await workflow.execute_activity_method(Bares.regular, ask, start_to_close_timeout=SECONDS)
        self.answered = True
        await workflow.wait_condition(lambda: False, timeout=timedelta(days=7))

    @workflow.update
    async def authorize(self, ask: Ask) -> str:
        """Answer after the fourth activity."""
        await workflow.wait_condition(lambda: self.answered)
        return ask.id
