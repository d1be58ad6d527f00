-- Opening, closing and reopening accounts: each change leaves its event.
SET LOCAL ROLE ledger_owner;

-- Open accounts that are not there yet. Writers of a race come to the same rows, and take them in the same order. Raises
-- where another account has the number of one: nothing may be posted to it then.
CREATE FUNCTION ledger.open_accounts(p_codes text[], p_currencies text[], p_normals smallint[], p_actor text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    strange text;
BEGIN
    WITH opened AS (
        INSERT INTO ledger.account (id, code, currency, normal)
        SELECT ledger.account_number(code, currency), code, currency, normal
        FROM (SELECT DISTINCT * FROM unnest(p_codes, p_currencies, p_normals) AS given (code, currency, normal)) AS given
        ORDER BY code COLLATE "C", currency COLLATE "C"
        ON CONFLICT DO NOTHING  -- whichever unique index two writers meet at
        RETURNING id, code, currency, normal
    ), balanced AS (
        INSERT INTO ledger.balance (account_id, currency) SELECT id, currency FROM opened
    )
    INSERT INTO ledger.event (actor, action, subject, detail)
    SELECT p_actor, 'account.opened', code, jsonb_build_object('id', id, 'currency', currency, 'normal', normal)
    FROM opened;

    SELECT given.code INTO strange
    FROM unnest(p_codes, p_currencies) AS given (code, currency) LEFT JOIN ledger.account a USING (code, currency)
    WHERE a.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the account % cannot be opened: another one has its number', strange
            USING ERRCODE = 'unique_violation';
    END IF;
END
$$;

-- Close an account to gates, or open it to them again. Facts are booked all the same (money rule 3). Returns whether
-- that changed anything; raises where there is no such account.
CREATE FUNCTION ledger.set_closed(p_code text, p_currency text, p_closed boolean, p_actor text, p_why text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was ledger.balance;
BEGIN
    SELECT * INTO was FROM ledger.balance
    WHERE account_id = ledger.account_number(p_code, p_currency) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no account % in %', p_code, p_currency USING ERRCODE = 'no_data_found';
    ELSIF p_why = '' THEN
        RAISE EXCEPTION 'an account is closed or reopened for a reason: say why' USING ERRCODE = 'invalid_parameter_value';
    ELSIF was.closed = p_closed THEN
        RETURN false;
    END IF;
    UPDATE ledger.balance SET closed = p_closed WHERE account_id = was.account_id;
    INSERT INTO ledger.event (actor, action, subject, why, before, detail)
    VALUES (p_actor, CASE WHEN p_closed THEN 'account.closed' ELSE 'account.reopened' END, p_code, p_why,
            jsonb_build_object('closed', was.closed, 'posted', was.posted, 'pending_debit', was.pending_debit,
                               'pending_credit', was.pending_credit),
            jsonb_build_object('currency', p_currency));
    RETURN true;
END
$$;

GRANT EXECUTE ON FUNCTION ledger.open_accounts TO ledger_poster;
