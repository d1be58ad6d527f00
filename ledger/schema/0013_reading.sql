-- Reading an account: its statement, and its balance by when things happened. Both begin where archived months end.
SET LOCAL ROLE ledger_owner;

-- The lines after (p_after_at, p_after_version), oldest first. How many postings an account has cannot be guessed, and a
-- sort of all of them is only cheap for small ones: the index has them in order.
CREATE FUNCTION ledger.statement(
    p_code text, p_currency text, p_after_at timestamptz, p_after_version bigint, p_limit integer
) RETURNS TABLE (
    version bigint, posted_at timestamptz, effective_at timestamptz, reference text, kind text,
    posted bigint, pending_debit bigint, pending_credit bigint,
    posted_after bigint, pending_debit_after bigint, pending_credit_after bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_sort = off SET enable_bitmapscan = off AS $$
    SELECT p.version, p.posted_at, e.effective_at, e.reference, e.kind, p.posted, p.pending_debit, p.pending_credit,
           p.posted_after, p.pending_debit_after, p.pending_credit_after
    FROM (
        SELECT * FROM ledger.posting
        WHERE account_id = ledger.account_number(p_code, p_currency)
          AND (posted_at, version) > (coalesce(p_after_at, '-infinity'), coalesce(p_after_version, 0))
        ORDER BY posted_at, version LIMIT p_limit
    ) AS p
    JOIN ledger.entry e USING (entry_id, posted_at)
    ORDER BY p.posted_at, p.version
$$;

-- What had been posted by what has happened until an instant, whenever it was written. Raises `HF010` where the instant's
-- month is out.
CREATE FUNCTION ledger.effective_balance(p_code text, p_currency text, p_until timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account constant bigint := ledger.account_number(p_code, p_currency);
BEGIN
    LOCK TABLE ledger.archived_month IN ACCESS SHARE MODE;
    IF p_until < ledger.archived_until() THEN
        RAISE EXCEPTION 'archived: restore % to read it', to_char(p_until AT TIME ZONE 'UTC', 'YYYY-MM') USING ERRCODE = 'HF010';
    END IF;
    RETURN coalesce((SELECT posted FROM ledger.opening_balance_now WHERE account_id = account), 0) + coalesce((
        SELECT sum(p.posted) FROM ledger.posting p JOIN ledger.entry e USING (entry_id, posted_at)
        WHERE p.account_id = account AND e.effective_at <= p_until
    ), 0);
END
$$;

GRANT EXECUTE ON FUNCTION ledger.statement, ledger.effective_balance TO ledger_reader;
