"""How a rule of the product is broken on purpose and mended again: by an edit of its text, or by another value.

An edit quotes the code that it changes, so that a mutant reads like a bad commit. Where the quoted text is not there
any more the edit is refused loudly: a mutant that changes nothing would prove nothing. Knows no rule and no schedule.
"""

import dataclasses
import functools
import inspect
import re
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import temporalio.workflow

from tests.simulation.world import WORKFLOWS


class Outdated(AssertionError):
    """The code that a mutant edits has changed: write the mutant anew, or take it out with the rule that it broke."""


@dataclass(frozen=True)
class Edit:
    """In the source of `owner`'s function `name`, each first text becomes the second. Owner: a class or a module."""

    owner: Any
    name: str
    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Swap:
    """`owner`'s attribute `name` is `value` instead."""

    owner: Any
    name: str
    value: Any


Change = Edit | Swap


def edit(owner: Any, name: str, old: str, new: str) -> Edit:
    """One edit of one text."""
    return Edit(owner, name, [(old, new)])


@contextmanager
def mutated(changes: Sequence[Change]) -> Generator[None]:
    """Break what the changes say, and mend it in the end. Raises `Outdated`."""
    mend: list[tuple[Any, str, Any]] = []
    try:
        for change in changes:
            before = inspect.getattr_static(change.owner, change.name)
            after = edited(change) if isinstance(change, Edit) else change.value
            mend.append((change.owner, change.name, before))
            _put(change.owner, change.name, before, after)
        yield
    finally:
        for owner, name, before in reversed(mend):
            _put(owner, name, inspect.getattr_static(owner, name), before)


def edited(change: Edit) -> Any:
    """The function with its text changed, and everything else as it was. Raises `Outdated`."""
    function = inspect.getattr_static(change.owner, change.name)
    text = inspect.getsource(function)
    for old, new in change.texts:
        if (times := text.count(old)) != 1:
            raise Outdated(f"{change.owner.__name__}.{change.name} has {times} times: {old}")
        text = text.replace(old, new)
    undecorated = re.sub(r"\A(?:@.*\n)+", "", textwrap.dedent(text))  # what decorators have left is copied below
    # Within a function of its own, `__class__` is what a bare `super()` looks for.
    whole = f"def _made(__class__):\n{textwrap.indent(undecorated, '    ')}\n    return {change.name}\n"
    made: dict[str, Any] = {}
    exec(compile(whole, f"<a mutant of {change.owner.__name__}.{change.name}>", "exec"), function.__globals__, made)
    return functools.update_wrapper(made["_made"](change.owner), function)


def _put(owner: Any, name: str, before: Any, after: Any) -> None:
    """Put an attribute in. Temporal keeps what it calls beside the class: there as well."""
    setattr(owner, name, after)
    for workflow in WORKFLOWS.values():
        definition = temporalio.workflow._Definition.must_from_class(workflow)
        run: Any = cast("Any", definition).run_fn
        if run is before:
            object.__setattr__(definition, "run_fn", after)
        for handlers in (cast("dict[Any, Any]", definition.signals), cast("dict[Any, Any]", definition.updates)):
            for handler in [each for each in handlers.values() if each.fn is before]:
                handlers[handler.name] = dataclasses.replace(handler, fn=after)
