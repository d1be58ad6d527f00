"""The words of payments: money, ids, lifecycles, commands, outcomes, errors. Pure: no I/O and no framework."""
