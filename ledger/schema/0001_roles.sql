-- Who may do what. None of these roles can log in: login roles are given them elsewhere.
--
--   ledger_owner     owns everything; nobody connects as it
--   ledger_migrator  may become the owner, in deployments only
--   ledger_poster    posts, and opens accounts; cannot even read
--   ledger_reader    reads
--   ledger_sealer    reads, and seals windows of the journal
--   ledger_archivist reads, takes sealed months out, and puts them back

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[
        'ledger_owner', 'ledger_migrator', 'ledger_poster', 'ledger_reader', 'ledger_sealer', 'ledger_archivist'
    ] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles are the cluster's: another database's migration was quicker
        END;
    END LOOP;
END
$$;

CREATE SCHEMA ledger AUTHORIZATION ledger_owner;

-- Least privilege also for what later files add: a function is for nobody until it is granted, a table for readers.
ALTER DEFAULT PRIVILEGES FOR ROLE ledger_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE ledger_owner IN SCHEMA ledger GRANT SELECT ON TABLES TO ledger_reader;
GRANT USAGE ON SCHEMA ledger TO ledger_poster, ledger_reader, ledger_sealer, ledger_archivist;
GRANT ledger_reader TO ledger_sealer, ledger_archivist;
GRANT ledger_owner TO ledger_migrator WITH INHERIT FALSE, SET TRUE;
