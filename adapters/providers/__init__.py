"""One folder per provider; none knows another."""
