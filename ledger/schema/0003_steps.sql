-- The steps of posting, in the order in which ledger.post takes them. None may be called by anybody else.
--
-- Locks are taken in one global order: reference, hold, refundable, accounts by id; whoever keeps to it cannot deadlock.
-- What depends on a lock is read after it, in a later statement, which sees a fresh snapshot under READ COMMITTED only.
SET LOCAL ROLE ledger_owner;

CREATE TYPE ledger.posted AS (
    status    text,    -- ledger/journal.py lists them
    entry_id  bigint,
    first     text,    -- of a refusal that is answered again: its first status
    hold_left bigint   -- what the hold had left before this entry
);

-- The reference is taken already: answer as it was answered first, or say that the content differs.
CREATE FUNCTION ledger.answer_again(p_reference text, p_fingerprint bytea, p_kind text, p_actor text)
RETURNS ledger.posted LANGUAGE plpgsql AS $$
DECLARE
    known record;
BEGIN
    SELECT k.entry_id, k.fingerprint, r.status INTO STRICT known
    FROM ledger.entry_key k LEFT JOIN ledger.rejection r USING (entry_id) WHERE k.reference = p_reference;
    IF known.fingerprint <> p_fingerprint THEN
        INSERT INTO ledger.event (at, actor, action, subject, entry_id, detail)
        VALUES (clock_timestamp(), p_actor, 'ledger.conflict', p_reference, known.entry_id,
                jsonb_build_object('kind', p_kind));
        RETURN ('conflicting_content', known.entry_id, NULL, NULL)::ledger.posted;
    ELSIF known.status IS NOT NULL THEN
        RETURN ('rejected_before', known.entry_id, known.status, NULL)::ledger.posted;
    END IF;
    RETURN ('replayed', known.entry_id, NULL, NULL)::ledger.posted;
END
$$;

-- Find an account, or open it. Both writers of a race come to the same row.
CREATE FUNCTION ledger.account_id(p_code text, p_currency text, p_normal smallint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    found_id bigint;
BEGIN
    SELECT id INTO found_id FROM ledger.account WHERE code = p_code AND currency = p_currency;
    IF found_id IS NULL THEN
        INSERT INTO ledger.account (code, currency, normal) VALUES (p_code, p_currency, p_normal)
        ON CONFLICT (code, currency) DO NOTHING;
        SELECT id INTO STRICT found_id FROM ledger.account WHERE code = p_code AND currency = p_currency;
        INSERT INTO ledger.balance (account_id, currency) VALUES (found_id, p_currency) ON CONFLICT DO NOTHING;
    END IF;
    RETURN found_id;
END
$$;

-- The accounts of the lines. They are opened in the order of their codes, before any other lock but the reference's, so
-- that two first uses cannot wait for each other.
CREATE FUNCTION ledger.account_ids(p_codes text[], p_currencies text[], p_normals smallint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT coalesce(array_agg(id ORDER BY number), '{}')
        FROM (
            SELECT number, ledger.account_id(code, currency, normal) AS id
            FROM (SELECT * FROM unnest(p_codes, p_currencies, p_normals) WITH ORDINALITY
                  AS given (code, currency, normal, number) ORDER BY code COLLATE "C", currency) AS sorted
        ) AS opened
    );
END
$$;

-- Open a hold; false where it was released before it came.
CREATE FUNCTION ledger.open_hold(p_hold text, p_amount bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.hold_state (reference, remaining, state) VALUES (p_hold, p_amount, 'open')
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END
$$;

-- Lock a hold. A release of what was never held leaves a row, by which a hold that comes late is refused.
CREATE FUNCTION ledger.lock_hold(p_hold text, p_action text) RETURNS ledger.hold_state LANGUAGE plpgsql AS $$
DECLARE
    state ledger.hold_state;
BEGIN
    SELECT * INTO state FROM ledger.hold_state WHERE reference = p_hold FOR UPDATE;
    IF state.reference IS NULL AND p_action = 'release' THEN
        INSERT INTO ledger.hold_state (reference, remaining, state) VALUES (p_hold, 0, 'released')
        ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT state FROM ledger.hold_state WHERE reference = p_hold FOR UPDATE;
    END IF;
    RETURN state;
END
$$;

-- Lock what is refundable of a payment. Only a fact makes the row: a gate finds nothing captured, and is refused.
CREATE FUNCTION ledger.lock_refundable(p_payment text, p_currency text, p_nature text) RETURNS ledger.refundable
LANGUAGE plpgsql AS $$
DECLARE
    owed ledger.refundable;
BEGIN
    IF p_nature = 'fact' THEN
        INSERT INTO ledger.refundable (payment, currency) VALUES (p_payment, p_currency) ON CONFLICT DO NOTHING;
    END IF;
    SELECT * INTO owed FROM ledger.refundable WHERE payment = p_payment FOR UPDATE;
    IF p_nature = 'fact' AND owed.currency <> p_currency THEN
        RAISE EXCEPTION 'the payment % is in %, not in %', p_payment, owed.currency, p_currency;
    END IF;
    RETURN owed;
END
$$;

-- Lock the accounts by id. The time of the entry is taken under the locks and never runs behind an account's last.
CREATE FUNCTION ledger.lock_accounts(p_accounts bigint[], OUT closed boolean, OUT at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM ledger.balance WHERE account_id = ANY (p_accounts) ORDER BY account_id FOR NO KEY UPDATE;
    SELECT coalesce(bool_or(b.closed), false), greatest(clock_timestamp(), max(b.last_at)) INTO closed, at
    FROM ledger.balance b WHERE b.account_id = ANY (p_accounts);
END
$$;

-- Judge a gate's bound, and keep the proof. The bounded accounts are liabilities: they grow by credit, and a pending
-- debit of theirs is spoken for.
CREATE FUNCTION ledger.is_within_bound(p_entry bigint, p_account bigint, p_amount bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    available bigint;
BEGIN
    SELECT -posted - pending_debit INTO STRICT available FROM ledger.balance WHERE account_id = p_account;
    IF p_amount > available THEN
        RETURN false;
    END IF;
    INSERT INTO ledger.gate (entry_id, account_id, amount, available_before)
    VALUES (p_entry, p_account, p_amount, available);
    RETURN true;
END
$$;

-- Keep a refusal, with its event, and close the hold that it had opened.
CREATE FUNCTION ledger.reject(
    p_entry bigint, p_reference text, p_kind text, p_actor text, p_status text, p_opened text DEFAULT NULL
) RETURNS ledger.posted LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger.hold_state SET remaining = 0, state = 'released' WHERE reference = p_opened;
    INSERT INTO ledger.rejection (entry_id, status) VALUES (p_entry, p_status);
    INSERT INTO ledger.event (at, actor, action, subject, entry_id, detail)
    VALUES (clock_timestamp(), p_actor, 'ledger.refused', p_reference, p_entry,
            jsonb_build_object('kind', p_kind, 'status', p_status));
    RETURN (p_status, p_entry, NULL, NULL)::ledger.posted;
END
$$;

-- Write the lines, with the running balance of each account's layer, and bring the balances along. An amount of zero
-- is no line: it named an account for a hold, or was a fee of nothing.
CREATE FUNCTION ledger.write_lines(
    p_entry bigint, p_at timestamptz, p_accounts bigint[], p_layers smallint[], p_amounts bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.posting
        (entry_id, line, layer, account_id, currency, amount, balance_after, account_version, posted_at)
    SELECT p_entry, line.number, line.layer, line.account, b.currency, line.amount,
           CASE line.layer WHEN 0 THEN b.posted WHEN 1 THEN b.pending_debit ELSE -b.pending_credit END
               + sum(line.amount) OVER (PARTITION BY line.account, line.layer ORDER BY line.number),
           b.version + row_number() OVER (PARTITION BY line.account ORDER BY line.number),
           p_at
    FROM unnest(p_accounts, p_layers, p_amounts) WITH ORDINALITY AS line (account, layer, amount, number)
    JOIN ledger.balance b ON b.account_id = line.account
    WHERE line.amount <> 0;

    UPDATE ledger.balance b
    SET posted = b.posted + change.posted,
        pending_debit = b.pending_debit + change.debit,
        pending_credit = b.pending_credit - change.credit,
        version = b.version + change.lines,
        last_at = p_at
    FROM (
        SELECT account,
               coalesce(sum(amount) FILTER (WHERE layer = 0), 0) AS posted,
               coalesce(sum(amount) FILTER (WHERE layer = 1), 0) AS debit,
               coalesce(sum(amount) FILTER (WHERE layer = 2), 0) AS credit,
               count(*) AS lines
        FROM unnest(p_accounts, p_layers, p_amounts) AS line (account, layer, amount)
        WHERE amount <> 0
        GROUP BY account
    ) AS change
    WHERE b.account_id = change.account;
END
$$;
