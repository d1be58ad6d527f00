-- Least privilege: who posts can do nothing but post, and read what it needs; who reads can only read.
SET LOCAL ROLE ledger_owner;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT USAGE ON SCHEMA ledger TO ledger_poster, ledger_reader;
GRANT EXECUTE ON FUNCTION ledger.post, ledger.ensure_months TO ledger_poster;
GRANT EXECUTE ON FUNCTION ledger.verify TO ledger_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ledger_reader;

RESET ROLE;
GRANT ledger_poster, ledger_reader TO holdfast;
