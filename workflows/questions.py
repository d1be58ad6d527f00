"""A question to our own books, asked until they answer: it moves nothing, so it may be asked at any time and again.

What is written there goes by a `Step` of the saga engine instead.
"""

from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.types import MethodAsyncSingleParam

from contracts import queues
from domain.commands import Command

Asked = TypeVar("Asked", bound=Command)
Said = TypeVar("Said")

DEADLINE = timedelta(seconds=5)  # our own database
UNTIL_ANSWERED = RetryPolicy(  # at most five seconds apart: a person may be waiting
    initial_interval=timedelta(seconds=0.1), maximum_interval=timedelta(seconds=5)
)


async def answered(question: MethodAsyncSingleParam[Any, Asked, Said], command: Asked, summary: str) -> Said:
    """Ask, and wait for the answer; `summary` is what the UI shows beside the question."""
    return await workflow.execute_activity_method(
        question,
        command,
        task_queue=queues.PAYMENTS,
        start_to_close_timeout=DEADLINE,
        retry_policy=UNTIL_ANSWERED,
        summary=summary,
    )
