"""The policies that the lifecycles share: how long each kind of step is tried, with the reason for each number."""

from datetime import timedelta

from workflows.saga import Book, ForwardOnly, Send

ADMITTED = Book("hold", timedelta(seconds=2), local=True, why="our own database, one commit each; the initiator waits")
REVERSED = Book("reversed", timedelta(seconds=5), why="nobody waits")
BOOKED = Book("post", timedelta(seconds=2), local=True, why="our own database; the initiator waits for its balance")
NOTED = Book("note", timedelta(seconds=5), why="nobody waits; a regular activity lets the answer leave first")
AS_ASKED = Send(lambda patience: patience.as_asked, why="an outage ends; a person looks")

A_FACT = ForwardOnly("a fact; corrected by a new entry, never undone")
A_ROW = ForwardOnly("a row that follows the state")
