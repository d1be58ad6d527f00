"""A schedule as a person reads it: when, what, about what; and which questions were asked on the way."""

from tests.simulation.search import Played
from tests.simulation.world import Line

DAY, HOUR = 86_400, 3_600
DETAIL_WIDTH = 110


def written(played: Played) -> str:
    """The whole timeline, with the violations at its end."""
    lines = [f"{played.name}", "", *map(_line, _without_repeats(played.world.lines)), ""]
    lines += [f"ended: {run.id} {run.result or run.ended or 'open'}" for run in played.world.server.runs.values()]
    lines += ["", *(f"BROKEN: {what}" for what in played.violations)] if played.violations else ["", "All holds."]
    return "\n".join(lines)


def questions(played: Played) -> str:
    """Every question that was asked, numbered as paths number them."""
    return "\n".join(
        f"{number:4} {each.answer:14} {each.label}   ({', '.join(each.options[1:])})"
        for number, each in enumerate(played.asked)
    )


def _without_repeats(lines: list[Line]) -> list[Line]:
    """Repeated lines are written once: an inquiry a minute says nothing new."""
    kept: list[Line] = []
    for line in lines:
        if not any(
            (line.what, line.subject, line.detail) == (each.what, each.subject, each.detail) for each in kept[-4:]
        ):
            kept.append(line)
    return kept


def _line(line: Line) -> str:
    day, rest = divmod(line.at, DAY)
    hour, rest = divmod(rest, HOUR)
    minute, second = divmod(rest, 60)
    at = f"{int(day):3}d {int(hour):02}:{int(minute):02}:{second:06.3f}"
    detail = line.detail if len(line.detail) <= DETAIL_WIDTH else line.detail[:DETAIL_WIDTH] + "…"
    return f"{at}  {line.what:34} {line.subject:44} {detail}".rstrip()
