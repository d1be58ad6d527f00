"""The double-entry, append-only book. Knows accounts, entries and holds; not what a payment is, nor who asks."""
