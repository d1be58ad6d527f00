"""Logging set-up: events, not sentences, with what a person needs to find the payment; never secrets or card data."""
