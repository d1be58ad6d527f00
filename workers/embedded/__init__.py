"""The embedded stack: Postgres, Temporal, simulator, worker and API as real processes of one machine."""
