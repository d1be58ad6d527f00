"""The one source of chance: every fault of a schedule is the answer to a question, and question 0 is "none".

A schedule is named by the questions that were not answered "none": `3=lost_after,7=crash`. The same name plays the
same schedule, on the same commit. Knows not what the answers mean.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

NONE = "none"


@dataclass(frozen=True, slots=True)
class Question:
    """One question that was asked in a schedule, what could be answered, and what was."""

    label: str
    options: Sequence[str]
    answer: str


@dataclass(frozen=True, slots=True)
class Path:
    """The answers that are not "none", by the number of the question."""

    answers: Mapping[int, str] = field(default_factory=dict[int, str])

    def __str__(self) -> str:
        return ",".join(f"{number}={answer}" for number, answer in sorted(self.answers.items()))

    def __len__(self) -> int:
        return len(self.answers)

    @staticmethod
    def parse(text: str) -> "Path":
        """Read what `str` writes; raises `ValueError` for anything else."""
        answers: dict[int, str] = {}
        for part in filter(None, text.split(",")):
            number, equals, answer = part.partition("=")
            if not equals or not answer:
                raise ValueError(f"{part!r} is no answer: write 3=lost_after")
            answers[int(number)] = answer
        return Path(answers)

    def and_then(self, number: int, answer: str) -> "Path":
        """This path with one more fault, later than its last."""
        return Path({**self.answers, number: answer})


class Astray(Exception):
    """The path answers a question that this code does not ask so: it was found on another commit."""


class Choices:
    """The answers of one schedule, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def choose(self, options: Sequence[str], label: str) -> str:
        """Answer a question; `options[0]` is always "none"."""
        answer = self._answer(options)
        self.asked.append(Question(label, options, answer))
        return answer

    def _answer(self, options: Sequence[str]) -> str:
        raise NotImplementedError

    @property
    def path(self) -> Path:
        """The path that has been taken."""
        taken = {number: each.answer for number, each in enumerate(self.asked) if each.answer != NONE}
        return Path(taken)


class Following(Choices):
    """Answers as a path says, and "none" everywhere else. Raises `Astray`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._answers = path.answers

    def _answer(self, options: Sequence[str]) -> str:
        answer = self._answers.get(len(self.asked), NONE)
        if answer is not NONE and answer not in options:
            raise Astray(f"question {len(self.asked)} has no answer {answer!r}: {', '.join(options)}")
        return answer


class AtRandom(Choices):
    """Answers by a seed: at most `faults` faults, spread over a schedule of about `length` questions."""

    def __init__(self, seed: int, faults: int, length: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._left = faults
        self._chance = min(0.5, faults / max(length, 1))

    def _answer(self, options: Sequence[str]) -> str:
        if self._left == 0 or len(options) < 2 or self._random.random() >= self._chance:
            return NONE
        self._left -= 1
        return self._random.choice(options[1:])


def onward(path: Path, asked: Sequence[Question]) -> Iterator[Path]:
    """Every path that follows this schedule and has one fault more, later than its last."""
    first = max(path.answers, default=-1) + 1
    for number in range(first, len(asked)):
        for answer in asked[number].options[1:]:
            yield path.and_then(number, answer)
