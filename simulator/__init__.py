"""Northbank, a provider of payments that does not exist: an HTTP process with its own words, books and bad habits.

It imports nothing of Holdfast and is imported by nothing of it: the two meet on the wire alone, as with any provider.
Its books live in memory, as long as the process. `docs/simulator.md` is the reference.
"""
