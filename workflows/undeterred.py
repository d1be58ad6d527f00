"""Living to the end whatever cancellations arrive: for runs that settle what has happened already.

A fact cannot be canceled, and whoever asks for it must see why nothing stops. Knows no workflow.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from workflows.run import Run

T = TypeVar("T")


async def live(run: Run, life: Coroutine[Any, Any, T]) -> T:
    """Live to the end; a cancellation is noted in the run's timeline, and that is all."""
    task = asyncio.create_task(life)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            run.log("cancel requested, and not heeded: what has happened is settled all the same")
    return task.result()
