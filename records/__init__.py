"""Rows beside the ledger: operations as GET and lists show them, idempotency claims, call journal, inbox, outbox."""
