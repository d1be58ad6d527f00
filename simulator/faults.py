"""The one way in which Northbank says that it has not taken an order, or a tester's wish, at all."""


class Fault(Exception):
    """Nothing is changed: no record is made of it, and its key is not remembered."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
