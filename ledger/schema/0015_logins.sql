-- Who logs in as what: each process's login gets what the process does, and no more. `holdfast migrate` makes the logins
-- before the first migration.
GRANT ledger_poster TO holdfast_worker;
GRANT ledger_reader TO holdfast_api;
GRANT ledger_sealer, ledger_archivist TO holdfast_upkeep;
GRANT ledger_poster, ledger_reader TO holdfast;  -- a person at a prompt

-- Plans of the posting functions are the same whatever is posted. Said here once instead of at every call, which costs
-- a lone entry some percent.
ALTER ROLE holdfast_worker SET plan_cache_mode = force_generic_plan;
ALTER ROLE holdfast SET plan_cache_mode = force_generic_plan;

SET LOCAL ROLE ledger_owner;
GRANT EXECUTE ON FUNCTION ledger.ensure_months TO ledger_archivist;  -- whoever takes months out also makes new ones
GRANT EXECUTE ON FUNCTION ledger.set_closed TO holdfast;  -- a person decides it, and says why
