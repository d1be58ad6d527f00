"""The page on which a payer proves who they are, at /challenges: of their bank, as a shop's page would send them there.

Takes no credentials, for a payer has none: the address is all. A GET shows the page and changes nothing; its two
buttons are a POST each.
"""

from http import HTTPStatus

from simulator.faults import Fault
from simulator.northbank import Northbank
from simulator.records import Kind, Phase, Record
from simulator.units import amount_of
from simulator.wire import Answer, Request

PATH = "/challenges/"
ENDS = {"pass": True, "fail": False}


class Challenges:
    """The payers' pages of one Northbank."""

    def __init__(self, bank: Northbank) -> None:
        self._bank = bank

    def answer(self, request: Request) -> Answer:
        """Answer one request under /challenges."""
        books = self._bank.books
        books.land_due()
        record_id, _, end = request.path.removeprefix(PATH).partition("/")
        found = books.record(record_id)
        if found is None or found.kind is not Kind.AUTHORISATION:
            return _page(HTTPStatus.NOT_FOUND, "There is nothing to confirm here.")
        if request.method == "GET" and not end:
            return _asked(found)
        if request.method != "POST" or end not in ENDS:
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, "This cannot be done here.")
        try:
            ended = books.end_challenge(found, passed=ENDS[end])
        except Fault:
            return _page(HTTPStatus.CONFLICT, "This payment does not wait for you any more.")
        return _page(HTTPStatus.OK, "Confirmed." if ended.phase is Phase.APPROVED else "Not confirmed.")


def _asked(record: Record) -> Answer:
    if record.phase is not Phase.CHALLENGED:
        return _page(HTTPStatus.OK, "This payment does not wait for you any more.")
    buttons = "".join(
        f'<form method="post" action="{record.challenge}/{end}"><button>{said}</button></form>'
        for end, said in (("pass", "It is me"), ("fail", "It is not me"))
    )
    return _page(HTTPStatus.OK, f"Pay {amount_of(record.minor, record.unit)} {record.unit}?", buttons)


def _page(status: int, said: str, more: str = "") -> Answer:
    page = f"<!doctype html><title>Northbank</title><p>{said}</p>{more}"
    return Answer(status, page.encode(), content_type="text/html; charset=utf-8")
