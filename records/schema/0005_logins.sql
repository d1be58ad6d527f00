-- Who logs in as what; the ledger says the same in a file of that name. Upkeep removes answers whose time is over, and
-- touches nothing else here.
GRANT records_writer TO holdfast_worker, holdfast_api;
GRANT USAGE ON SCHEMA records TO holdfast_upkeep;
GRANT SELECT, UPDATE, DELETE ON records.claim TO holdfast_upkeep;  -- UPDATE: it locks what it removes
