"""What the ledger costs: the product's posting beside what the same server can do at all, in one interleaved run."""
