"""Northbank's books in process, with a clock that the test moves and a memory of what was announced."""

from simulator.books import Books
from simulator.orders import Authorise, Collect, Increment, PayBack, Pointer, Recall, Release, Transfer, Value
from simulator.records import Phase, Record
from simulator.twists import Twist

BEGINNING = 1_800_000_000.0


class Bank:
    """Books and their time. Everything is in EUR, and acts upon `pay_1.a1` if nothing else is said."""

    def __init__(self) -> None:
        self.time = BEGINNING
        self.announced: list[Record] = []
        self.books = Books(lambda: self.time, self.announced.append)

    def wait(self, seconds: float) -> None:
        self.time += seconds
        self.books.land_due()

    def authorise(self, reference: str = "pay_1.a1", minor: int = 10_000, token: str = "tok_visa") -> Record:
        return self.books.place(Authorise(reference, Value(minor, "EUR"), token))

    def collect(
        self, reference: str, minor: int, *, last: bool = False, on: str = "pay_1.a1", twist: Twist = None
    ) -> Record:
        return self.books.place(Collect(reference, Value(minor, "EUR"), Pointer("", on), last), twist)

    def release(self, reference: str = "pay_1.v1", on: str = "pay_1.a1") -> Record:
        return self.books.place(Release(reference, Pointer("", on)))

    def pay_back(self, reference: str, minor: int, on: str = "pay_1.a1", twist: Twist = None) -> Record:
        return self.books.place(PayBack(reference, Value(minor, "EUR"), Pointer("", on)), twist)

    def transfer(self, reference: str = "po_1.p1", beneficiary: str = "acct_ok", twist: Twist = None) -> Record:
        return self.books.place(Transfer(reference, Value(700, "EUR"), beneficiary), twist)

    def increase(self, reference: str, minor: int, on: str = "pay_1.a1", twist: Twist = None) -> Record:
        return self.books.place(Increment(reference, Value(minor, "EUR"), Pointer("", on)), twist)

    def recall(self, reference: str, on: str = "po_1.p1", minor: int = 700, twist: Twist = None) -> Record:
        return self.books.place(Recall(reference, Value(minor, "EUR"), Pointer("", on)), twist)

    def phase(self, reference: str) -> Phase:
        return self.books.known(reference).phase

    def open_minor(self, reference: str = "pay_1.a1") -> int:
        return self.books.open_minor(self.books.known(reference))

    def told(self) -> list[tuple[str, Phase]]:
        return [(record.merchant_ref, record.phase) for record in self.announced]
