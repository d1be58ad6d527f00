"""The thin HTTP edge: authenticate, claim the idempotency key, start or update a run, answer. No business logic."""
