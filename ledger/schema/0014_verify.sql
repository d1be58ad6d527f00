-- Recompute what is derived, and name the first row that is wrong. Each check is one function that returns one row, or
-- none where everything agrees; `ledger.verify()` is all of them. ledger/checks.py runs them under one snapshot, in
-- several lanes, and checks the seals as well.
--
-- Two checks read every posting ever written. They first prove, in one unsorted pass, that nothing is wrong, and search
-- for what is only where that fails. The proof weighs each term with a pseudo-random number made of its key and of a seed
-- that is drawn anew each time: terms that ought to cancel do so whatever the weights; of others the sum is zero by a
-- chance of one in a thousand million, and nobody can prepare for a seed that does not exist yet.
--
-- Where months are out, everything goes on from the opening state that they left (0012).
SET LOCAL ROLE ledger_owner;

CREATE FUNCTION ledger.new_seed() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN hashtextextended(gen_random_uuid()::text, 0);

-- What a proof weighs an entry's amounts in one currency with: thirty bits, so that the product with half an amount fits.
CREATE FUNCTION ledger.weight(p_entry bigint, p_currency text, p_seed bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashint8extended(p_entry, hashtextextended(p_currency, p_seed)) & 1073741823;

-- What an account is at one of its versions, as one number.
CREATE FUNCTION ledger.state_number(
    p_account bigint, p_currency text, p_version bigint, p_posted bigint, p_debit bigint, p_credit bigint, p_seed bigint
) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashint8extended(p_account, hashint8extended(p_version, hashint8extended(p_posted, hashint8extended(p_debit,
    hashint8extended(p_credit, hashtextextended(p_currency, p_seed))))));

-- Every entry sums to zero in each currency, posted and pending. Amounts are weighed in two halves: sums of products of
-- thirty by thirty-two bits do not overflow.
CREATE FUNCTION ledger.check_zero_sum() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql VOLATILE AS $$
    WITH seed AS MATERIALIZED (SELECT ledger.new_seed() AS posted, ledger.new_seed() AS pending)
    SELECT 'an entry does not balance', entry_id::text, currency
    FROM (
        SELECT entry_id, currency FROM ledger.posting GROUP BY entry_id, currency
        HAVING sum(posted) <> 0 OR sum(pending_debit) <> sum(pending_credit)
        ORDER BY entry_id LIMIT 1
    ) AS first
    WHERE (
        SELECT sum(ledger.weight(entry_id, currency, (SELECT posted FROM seed)) * (posted >> 32)) * 4294967296
             + sum(ledger.weight(entry_id, currency, (SELECT posted FROM seed)) * (posted & 4294967295))
             + sum(ledger.weight(entry_id, currency, (SELECT pending FROM seed)) * ((pending_debit - pending_credit) >> 32))
               * 4294967296
             + sum(ledger.weight(entry_id, currency, (SELECT pending FROM seed)) * ((pending_debit - pending_credit) & 4294967295))
        FROM ledger.posting
    ) <> 0
$$;

-- The first posting, by account and version, that does not start from the state that the one before it left; or the first
-- balance that is not what the last one left.
CREATE FUNCTION ledger.first_broken_balance() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    WITH step AS (
        SELECT account_id, currency, version, entry_id,
               posted_after - posted AS posted_before, pending_debit_after - pending_debit AS debit_before,
               pending_credit_after - pending_credit AS credit_before,
               lag(version) OVER so_far AS last, lag(posted_after) OVER so_far AS posted,
               lag(pending_debit_after) OVER so_far AS debit, lag(pending_credit_after) OVER so_far AS credit
        FROM ledger.posting WINDOW so_far AS (PARTITION BY account_id ORDER BY version, posted_at)
    ), last AS (
        SELECT DISTINCT ON (account_id) account_id, version, posted_after, pending_debit_after, pending_credit_after
        FROM ledger.posting ORDER BY account_id, version DESC, posted_at DESC
    )
    (SELECT 'a running balance breaks', coalesce(a.code || ' ' || a.currency, s.account_id::text),
            'version ' || s.version || ', entry ' || s.entry_id
     FROM step s
     LEFT JOIN ledger.account a ON a.id = s.account_id
     LEFT JOIN ledger.opening_balance_now o ON o.account_id = s.account_id
     WHERE a.currency IS DISTINCT FROM s.currency
        OR (s.version - 1, s.posted_before, s.debit_before, s.credit_before) <> (
            coalesce(s.last, o.version, 0), coalesce(s.posted, o.posted, 0), coalesce(s.debit, o.pending_debit, 0),
            coalesce(s.credit, o.pending_credit, 0))
     ORDER BY s.account_id, s.version LIMIT 1)
    UNION ALL
    (SELECT 'a balance is not the sum of its postings', a.code || ' ' || a.currency, 'version ' || b.version
     FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
     LEFT JOIN last ON last.account_id = a.id
     LEFT JOIN ledger.opening_balance_now o ON o.account_id = a.id
     WHERE (b.version, b.posted, b.pending_debit, b.pending_credit) <> (
            coalesce(last.version, o.version, 0), coalesce(last.posted_after, o.posted, 0),
            coalesce(last.pending_debit_after, o.pending_debit, 0), coalesce(last.pending_credit_after, o.pending_credit, 0))
     ORDER BY a.code, a.currency LIMIT 1)
    LIMIT 1
$$;

-- Every posting takes its account from the state before it to the state after it, version by version, and the last state
-- is the balance. As a sum: each state that is left is one that was come to, but for the first, the opening state, and
-- the last, the balance. Versions only go up, so there can be no circle beside the path: none is missing or double.
CREATE FUNCTION ledger.check_running_balances() RETURNS TABLE (broken text, subject text, detail text)
LANGUAGE sql VOLATILE AS $$
    WITH seed AS MATERIALIZED (SELECT ledger.new_seed() AS seed)
    SELECT first.*
    FROM ledger.first_broken_balance() AS first
    WHERE (
        SELECT coalesce(sum(ledger.state_number(account_id, currency, version, posted_after, pending_debit_after,
                   pending_credit_after, (SELECT seed FROM seed))), 0)
             - coalesce(sum(ledger.state_number(account_id, currency, version - 1, posted_after - posted,
                   pending_debit_after - pending_debit, pending_credit_after - pending_credit, (SELECT seed FROM seed))), 0)
        FROM ledger.posting
    ) <> (
        SELECT coalesce(sum(ledger.state_number(a.id, a.currency, b.version, b.posted, b.pending_debit, b.pending_credit,
                   (SELECT seed FROM seed))), 0)
             - coalesce(sum(ledger.state_number(a.id, a.currency, coalesce(o.version, 0), coalesce(o.posted, 0),
                   coalesce(o.pending_debit, 0), coalesce(o.pending_credit, 0), (SELECT seed FROM seed))), 0)
        FROM ledger.account a JOIN ledger.balance b ON b.account_id = a.id
        LEFT JOIN ledger.opening_balance_now o ON o.account_id = a.id
    )
$$;

-- The versions of an account go the way of time: what was read as of an instant stays what it was.
CREATE FUNCTION ledger.check_time_order() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    SELECT 'an account''s time runs backwards', coalesce(a.code || ' ' || a.currency, first.account_id::text),
           'version ' || version
    FROM (
        SELECT account_id, version
        FROM (
            SELECT account_id, version, lag(version, 1, 0::bigint) OVER in_time AS before
            FROM ledger.posting WINDOW in_time AS (PARTITION BY account_id ORDER BY posted_at, version)
        ) AS step
        WHERE before >= version LIMIT 1
    ) AS first
    LEFT JOIN ledger.account a ON a.id = first.account_id
$$;

-- Every key has one entry or one rejection, which has its reference, and neither is without a key. The keys of entries
-- that are out cannot be told from others; there must be as many as went out.
CREATE FUNCTION ledger.check_keys() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    WITH answered AS (
        SELECT entry_id, reference FROM ledger.entry UNION ALL SELECT entry_id, reference FROM ledger.rejection
    ), counted AS MATERIALIZED (
        SELECT (SELECT count(*) FROM ledger.entry_key) AS keys, (SELECT count(*) FROM answered) AS answers,
               ledger.archived_entries() AS archived
    )
    (SELECT CASE WHEN k.reference IS NULL THEN 'an entry or rejection has no key'
                 ELSE 'a key has neither entry nor rejection' END,
            coalesce(k.reference, a.reference), coalesce(k.entry_id, a.entry_id)::text
     FROM ledger.entry_key k FULL JOIN answered a ON a.entry_id = k.entry_id AND a.reference = k.reference
     WHERE k.entry_id IS NULL OR (a.entry_id IS NULL AND (SELECT archived = 0 FROM counted))
     ORDER BY coalesce(k.entry_id, a.entry_id), k.reference NULLS LAST LIMIT 1)
    UNION ALL
    (SELECT 'a key has two entries or rejections', min(reference), entry_id::text
     FROM answered WHERE (SELECT keys <> answers + archived FROM counted)
     GROUP BY entry_id HAVING count(*) > 1 ORDER BY entry_id LIMIT 1)
    UNION ALL
    SELECT 'not as many keys are without an entry as entries were taken out', keys || ' keys', answers || ' + ' || archived
    FROM counted WHERE keys <> answers + archived
    LIMIT 1
$$;

-- Every posting is of an entry.
CREATE FUNCTION ledger.check_postings() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    SELECT 'a posting is of no entry', p.entry_id::text, 'account ' || p.account_id
    FROM ledger.posting p LEFT JOIN ledger.entry e USING (entry_id, posted_at)
    WHERE e.entry_id IS NULL
    ORDER BY p.entry_id LIMIT 1
$$;

-- No gate went through a bound: what was available then is what its account's own posting says, and was enough.
CREATE FUNCTION ledger.check_bounds() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    SELECT 'a gate was let through a bound that it exceeded', e.reference, e.available_before::text
    FROM ledger.entry e
    LEFT JOIN ledger.posting p
        ON p.entry_id = e.entry_id AND p.posted_at = e.posted_at AND p.account_id = e.bounded_account
    WHERE e.bounded_account IS NOT NULL AND (
        e.nature <> 'gate' OR e.available_before IS NULL OR e.hold_amount > e.available_before
        OR e.available_before <> p.posted - p.posted_after + p.pending_debit - p.pending_debit_after)
    ORDER BY e.entry_id LIMIT 1
$$;

-- Every hold is what was opened, has left what its entries left, and ended as the last of them says. What was refused, or
-- released before it came, was never opened: it is voided, and has nothing.
CREATE FUNCTION ledger.check_holds() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    WITH moved AS (  -- joined by entry_id alone, which is unique (check_keys): so its number of rows is guessed right
        SELECT e.hold AS reference, sum(p.pending_debit) AS pending,
               min(p.account_id) FILTER (WHERE p.pending_debit <> 0) AS debited,
               min(p.account_id) FILTER (WHERE p.pending_credit <> 0) AS credited,
               max(p.account_id) FILTER (WHERE p.pending_debit <> 0) AS debited_last,
               max(p.account_id) FILTER (WHERE p.pending_credit <> 0) AS credited_last,
               max(e.posted_at) FILTER (WHERE e.hold_amount IS NULL) AS released_at
        FROM ledger.entry e JOIN ledger.posting p USING (entry_id)
        WHERE e.hold IS NOT NULL AND (p.pending_debit <> 0 OR p.pending_credit <> 0)
        GROUP BY e.hold
    ), opened AS (
        SELECT hold AS reference, currency, hold_amount AS amount, hold_expires_at AS expires_at,
               CASE nature WHEN 'gate' THEN payment END AS payment
        FROM ledger.entry WHERE hold_expires_at IS NOT NULL
        UNION ALL
        SELECT reference, currency, amount, expires_at, payment FROM ledger.opening_hold_now
    ), judged AS MATERIALIZED (  -- or the planner bets on finding the one row that is asked for soon, and there is none
        SELECT reference, h.remaining, h.state, CASE
            WHEN h.state IS NULL THEN 'a hold is missing'
            WHEN h.remaining <> coalesce(before.remaining, 0) + coalesce(m.pending, 0)
                THEN 'what a hold has left is not what its entries left'
            WHEN o.amount IS NOT NULL AND (h.currency, h.amount, h.expires_at, h.payment)
                IS DISTINCT FROM (o.currency, o.amount, o.expires_at, o.payment)
                THEN 'a hold is not what was opened'
            WHEN m.pending IS NOT NULL AND (h.debit_account, h.debit_account, h.credit_account, h.credit_account)
                IS DISTINCT FROM (m.debited, m.debited_last, m.credited, m.credited_last)
                THEN 'a hold is not on the accounts that its entries moved'
            WHEN h.state <> CASE
                WHEN h.remaining > 0 THEN 'open'
                WHEN m.released_at >= h.expires_at THEN 'expired'
                WHEN m.released_at IS NOT NULL THEN 'voided'
                WHEN m.pending IS NOT NULL THEN 'captured'
                WHEN h.state <> 'open' AND ledger.archived_until() > '-infinity' THEN h.state  -- it ended in a month that is out
                ELSE 'voided'
            END THEN 'a hold did not end as its state says'
        END AS broken
        FROM ledger.hold h
        FULL JOIN moved m USING (reference)
        LEFT JOIN opened o USING (reference)
        LEFT JOIN ledger.opening_hold_now before USING (reference)
    )
    SELECT broken, reference, coalesce(state || ', ' || remaining || ' left', '')
    FROM judged WHERE broken IS NOT NULL ORDER BY reference LIMIT 1
$$;

-- What became of each payment is what its entries say.
CREATE FUNCTION ledger.check_refundable() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    WITH told AS (
        SELECT payment, currency, sum(captured) AS captured, sum(refunded) AS refunded, sum(disputed) AS disputed
        FROM (
            SELECT e.payment, coalesce(e.currency, (SELECT h.currency FROM ledger.hold h WHERE h.reference = e.hold)) AS currency,
                   e.captured, e.refunded, e.disputed
            FROM ledger.entry e WHERE e.payment IS NOT NULL AND (e.captured, e.refunded, e.disputed) <> (0, 0, 0)
            UNION ALL
            SELECT payment, currency, captured, refunded, disputed FROM ledger.opening_refundable_now
        ) AS change
        GROUP BY payment, currency
    )
    SELECT 'what became of a payment is not what its entries say', payment, currency
    FROM ledger.refundable r FULL JOIN told t USING (payment, currency)
    WHERE (coalesce(r.captured, 0), coalesce(r.refunded, 0), coalesce(r.disputed, 0))
       <> (coalesce(t.captured, 0), coalesce(t.refunded, 0), coalesce(t.disputed, 0))
    ORDER BY payment, currency LIMIT 1
$$;

-- What each payment has reserved is what its holds have left.
CREATE FUNCTION ledger.check_reserved() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    WITH held AS (
        SELECT payment, currency, sum(remaining) AS reserved
        FROM ledger.hold WHERE payment IS NOT NULL AND remaining > 0 GROUP BY payment, currency
    )
    SELECT 'what a payment has reserved is not what its holds have left', payment, currency
    FROM ledger.refundable r FULL JOIN held USING (payment, currency)
    WHERE coalesce(r.reserved, 0) <> coalesce(held.reserved, 0)
    ORDER BY payment, currency LIMIT 1
$$;

-- Every account has the number of its name, was opened as its event says, has one balance in its currency, and is closed
-- if that was the last that was done to it.
CREATE FUNCTION ledger.check_accounts() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    WITH opened AS (
        SELECT subject AS code, detail ->> 'currency' AS currency, detail ->> 'id' AS id, detail ->> 'normal' AS normal
        FROM ledger.event WHERE action = 'account.opened'
    ), last AS (
        SELECT DISTINCT ON (subject, detail ->> 'currency')
               subject AS code, detail ->> 'currency' AS currency, action = 'account.closed' AS closed
        FROM ledger.event WHERE action IN ('account.closed', 'account.reopened')
        ORDER BY subject, detail ->> 'currency', id DESC
    ), judged AS (
        SELECT code, currency, coalesce(a.id::text, opened.id) AS id, CASE
            WHEN a.id IS NULL THEN 'an account was opened, and is not there'
            WHEN a.id <> ledger.account_number(code, currency) THEN 'an account has another''s number'
            WHEN (a.id::text, a.normal::text) IS DISTINCT FROM (opened.id, opened.normal)
                THEN 'an account was not opened as it is'
            WHEN b.in_currency IS DISTINCT FROM currency THEN 'an account has no balance in its currency'
            WHEN b.closed <> coalesce(last.closed, false) THEN 'an account was not closed or reopened by its last event'
        END AS broken
        FROM ledger.account a
        FULL JOIN opened USING (code, currency)
        LEFT JOIN (SELECT account_id, currency AS in_currency, closed FROM ledger.balance) AS b ON b.account_id = a.id
        LEFT JOIN last USING (code, currency)
    )
    SELECT broken, code || ' ' || currency, id FROM judged WHERE broken IS NOT NULL ORDER BY code, currency LIMIT 1
$$;

-- No row claims a transaction that has not begun: no seal would come to it.
CREATE FUNCTION ledger.check_transactions() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql STABLE AS $$
    SELECT 'a row claims a transaction that has not begun', source || ' ' || number, xid::text
    FROM (
        (SELECT 'entry' AS source, entry_id AS number, xid FROM ledger.entry ORDER BY xid DESC LIMIT 1)
        UNION ALL
        (SELECT 'rejection', entry_id, xid FROM ledger.rejection ORDER BY xid DESC LIMIT 1)
        UNION ALL
        (SELECT 'event', id, xid FROM ledger.event ORDER BY xid DESC LIMIT 1)
    ) AS newest
    WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) LIMIT 1
$$;

-- All of it, for whoever has nothing but SQL: the first row that each check finds wrong.
CREATE FUNCTION ledger.verify() RETURNS TABLE (broken text, subject text, detail text) LANGUAGE sql VOLATILE AS $$
    SELECT * FROM ledger.check_zero_sum()
    UNION ALL SELECT * FROM ledger.check_running_balances()
    UNION ALL SELECT * FROM ledger.check_time_order()
    UNION ALL SELECT * FROM ledger.check_keys()
    UNION ALL SELECT * FROM ledger.check_postings()
    UNION ALL SELECT * FROM ledger.check_bounds()
    UNION ALL SELECT * FROM ledger.check_holds()
    UNION ALL SELECT * FROM ledger.check_refundable()
    UNION ALL SELECT * FROM ledger.check_reserved()
    UNION ALL SELECT * FROM ledger.check_accounts()
    UNION ALL SELECT * FROM ledger.check_transactions()
    UNION ALL SELECT * FROM ledger.verify_archive()
$$;

GRANT EXECUTE ON FUNCTION
    ledger.verify, ledger.check_zero_sum, ledger.check_running_balances, ledger.check_time_order, ledger.check_keys,
    ledger.check_postings, ledger.check_bounds, ledger.check_holds, ledger.check_refundable, ledger.check_reserved,
    ledger.check_accounts, ledger.check_transactions,
    ledger.new_seed, ledger.weight, ledger.state_number, ledger.first_broken_balance
TO ledger_reader;
