-- What whoever posts may ask of the book before it posts: four narrow questions. Its login still reads no table here.
SET LOCAL ROLE ledger_owner;

-- The references that begin so and stand: posted, not refused. All characters of references sort before '~'. A prefix is
-- as long as the shortest reference, so that nobody asks for all of them.
CREATE FUNCTION ledger.standing(p_prefix text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.reference FROM ledger.entry_key k
    WHERE k.reference >= p_prefix COLLATE "C" AND k.reference < (p_prefix || '~') COLLATE "C"
      AND length(p_prefix) >= 8
      AND NOT EXISTS (SELECT FROM ledger.rejection r WHERE r.entry_id = k.entry_id)
$$;

-- What an entry moved, and how much of it was our fee. Raises `HF010` where the entry's month is out of the database.
CREATE FUNCTION ledger.moved(p_reference text, OUT amount bigint, OUT fee bigint, OUT currency text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    this constant bigint := (SELECT k.entry_id FROM ledger.entry_key k WHERE k.reference = p_reference COLLATE "C");
BEGIN
    IF this IS NULL THEN
        RETURN;
    END IF;
    SELECT sum(p.posted) FILTER (WHERE p.posted > 0),
           coalesce(-sum(p.posted) FILTER (WHERE a.code = 'holdfast:fee_income'), 0), min(p.currency)
    INTO amount, fee, currency
    FROM ledger.posting p JOIN ledger.account a ON a.id = p.account_id
    WHERE p.entry_id = this;
    IF amount IS NULL THEN
        RAISE EXCEPTION 'archived: restore the month of % to read it', p_reference USING ERRCODE = 'HF010';
    END IF;
END
$$;

-- What is captured of a payment, less what was taken back.
CREATE FUNCTION ledger.captured_of(p_payment text, p_currency text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(captured), 0)::bigint FROM ledger.refundable
    WHERE payment = p_payment COLLATE "C" AND currency = p_currency COLLATE "C"
$$;

-- What an account that grows on the credit side can be drawn for: its balance less what is held of it.
CREATE FUNCTION ledger.available_of(p_code text, p_currency text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(-b.posted - b.pending_debit), 0)::bigint FROM ledger.balance b
    WHERE b.account_id = ledger.account_number(p_code, p_currency)
$$;

GRANT EXECUTE ON FUNCTION ledger.standing, ledger.moved, ledger.captured_of, ledger.available_of TO ledger_poster;
