-- Posting: one call, one commit, one entry. Locks are taken in one global order: reference, hold, refundable, accounts
-- by id; whoever keeps to it cannot deadlock. What depends on a lock is read after it, in a later statement, which sees
-- a fresh snapshot under READ COMMITTED only.
SET LOCAL ROLE ledger_owner;

CREATE TYPE ledger.posted AS (
    status    text,    -- ledger/journal.py lists them
    entry_id  bigint,
    first     text,    -- of a refusal that is answered again: its first status
    hold_left bigint   -- what the hold had left before this entry
);

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

-- Keep a refusal, with its event.
CREATE FUNCTION ledger.reject(p_entry bigint, p_reference text, p_kind text, p_actor text, p_status text)
RETURNS ledger.posted LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.rejection (entry_id, status) VALUES (p_entry, p_status);
    INSERT INTO ledger.event (at, actor, action, subject, entry_id, detail)
    VALUES (clock_timestamp(), p_actor, 'ledger.refused', p_reference, p_entry,
            jsonb_build_object('kind', p_kind, 'status', p_status));
    RETURN (p_status, p_entry, NULL, NULL)::ledger.posted;
END
$$;

-- Write the lines, with the running balance of each account's layer, and bring the balances along.
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
    JOIN ledger.balance b ON b.account_id = line.account;

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
        GROUP BY account
    ) AS change
    WHERE b.account_id = change.account;
END
$$;

-- Post one entry.
--   p_nature        'gate': may be refused, finally; 'fact': has happened, and is booked whatever stands against it
--   p_codes …       the lines of the posted layer; the pending lines are this function's business
--   p_hold_action   'none'; 'open': hold p_hold_amount; 'use': a fact that draws p_hold_amount, or what is left of it
--                   (p_hold_final gives the rest up); 'release': all that is left, done also where nothing was held
--   p_bound         index of the account in p_codes, or 0: a gate may not exceed what is available there
--   p_payment …     whose refundable row changes, and by what; a hold that is opened with a payment reserves of it
CREATE FUNCTION ledger.post(
    p_reference text, p_fingerprint bytea, p_operation text, p_kind text, p_nature text, p_actor text,
    p_effective_at timestamptz, p_reverses text,
    p_codes text[], p_currencies text[], p_normals smallint[], p_amounts bigint[],
    p_hold text, p_hold_action text, p_hold_amount bigint, p_hold_final boolean, p_hold_expires_at timestamptz,
    p_hold_debit smallint, p_hold_credit smallint, p_bound smallint,
    p_payment text, p_captured bigint, p_refunded bigint, p_disputed bigint
) RETURNS ledger.posted
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    known     record;
    this      bigint;
    at        timestamptz;
    held      ledger.hold;
    state     ledger.hold_state;
    owed      ledger.refundable;
    bound     ledger.balance;
    drawn     bigint := 0;       -- what leaves the hold for this entry and for nothing
    accounts  bigint[];          -- of p_codes
    reserves  text;
    locked    bigint[];
    closed    boolean;
    l_account bigint[] := '{}';
    l_layer   smallint[] := '{}';
    l_amount  bigint[] := '{}';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger posts under READ COMMITTED only: what is read after a lock must be fresh';
    END IF;

    -- The reference: once, for ever.
    INSERT INTO ledger.entry_key (reference, fingerprint) VALUES (p_reference, p_fingerprint)
    ON CONFLICT DO NOTHING RETURNING entry_id INTO this;
    IF this IS NULL THEN
        SELECT k.entry_id, k.fingerprint, r.status INTO STRICT known
        FROM ledger.entry_key k LEFT JOIN ledger.rejection r USING (entry_id) WHERE k.reference = p_reference;
        IF known.fingerprint <> p_fingerprint THEN
            RETURN ('conflicting_content', known.entry_id, NULL, NULL)::ledger.posted;
        ELSIF known.status IS NOT NULL THEN
            RETURN ('rejected_before', known.entry_id, known.status, NULL)::ledger.posted;
        END IF;
        RETURN ('replayed', known.entry_id, NULL, NULL)::ledger.posted;
    END IF;

    -- Accounts are opened in the order of their codes, so that two first uses cannot wait for each other.
    SELECT array_agg(id ORDER BY number) INTO accounts
    FROM (
        SELECT number, ledger.account_id(code, currency, normal) AS id
        FROM (SELECT * FROM unnest(p_codes, p_currencies, p_normals) WITH ORDINALITY
              AS given (code, currency, normal, number) ORDER BY code COLLATE "C", currency) AS sorted
    ) AS opened;

    -- The hold.
    IF p_hold_action = 'open' THEN
        INSERT INTO ledger.hold_state (reference, remaining, state) VALUES (p_hold, p_hold_amount, 'open')
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'hold_not_open');
        END IF;
        held.debit_account := accounts[p_hold_debit];
        held.credit_account := accounts[p_hold_credit];
        reserves := p_payment;
    ELSIF p_hold_action IN ('use', 'release') THEN
        SELECT * INTO state FROM ledger.hold_state WHERE reference = p_hold FOR UPDATE;
        IF state.reference IS NULL AND p_hold_action = 'release' THEN
            INSERT INTO ledger.hold_state (reference, remaining, state) VALUES (p_hold, 0, 'released')
            ON CONFLICT DO NOTHING;
            SELECT * INTO STRICT state FROM ledger.hold_state WHERE reference = p_hold FOR UPDATE;
        END IF;
        SELECT * INTO held FROM ledger.hold WHERE reference = p_hold;
        reserves := held.payment;
        IF held.reference IS NOT NULL AND held.currency <> p_currencies[1] THEN
            RAISE EXCEPTION '%: the hold % is in %', p_reference, p_hold, held.currency;
        END IF;
        drawn := CASE
            WHEN p_hold_action = 'release' OR p_hold_final THEN coalesce(state.remaining, 0)
            ELSE least(p_hold_amount, coalesce(state.remaining, 0))
        END;
    END IF;

    -- What is refundable of the payment.
    IF coalesce(reserves, p_payment) IS NOT NULL THEN
        INSERT INTO ledger.refundable (payment, currency) VALUES (coalesce(reserves, p_payment), p_currencies[1])
        ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT owed FROM ledger.refundable
        WHERE payment = coalesce(reserves, p_payment) FOR UPDATE;
        IF owed.currency <> p_currencies[1] THEN
            RAISE EXCEPTION '%: the payment % is in %', p_reference, owed.payment, owed.currency;
        END IF;
        IF p_nature = 'gate' AND p_hold_action = 'open' AND reserves IS NOT NULL
            AND p_hold_amount > owed.captured - owed.refunded - owed.reserved - owed.disputed THEN
            UPDATE ledger.hold_state SET remaining = 0, state = 'released' WHERE reference = p_hold;
            RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'refundable_exceeded');
        END IF;
    END IF;

    -- The accounts, by id.
    SELECT array_agg(DISTINCT id ORDER BY id) INTO locked
    FROM unnest(accounts || ARRAY[held.debit_account, held.credit_account]) AS id WHERE id IS NOT NULL;
    PERFORM 1 FROM ledger.balance WHERE account_id = ANY (locked) ORDER BY account_id FOR NO KEY UPDATE;
    SELECT bool_or(b.closed), greatest(clock_timestamp(), max(b.last_at)) INTO closed, at
    FROM ledger.balance b WHERE b.account_id = ANY (locked);
    at := coalesce(at, clock_timestamp());

    IF p_nature = 'gate' AND closed THEN
        UPDATE ledger.hold_state SET remaining = 0, state = 'released' WHERE reference = p_hold;
        RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'account_closed');
    END IF;
    IF p_nature = 'gate' AND p_bound > 0 THEN
        SELECT * INTO STRICT bound FROM ledger.balance b WHERE b.account_id = accounts[p_bound];
        -- The bounded accounts are liabilities: they grow by credit, and a pending debit is spoken for.
        IF p_hold_amount > -bound.posted - bound.pending_debit THEN
            UPDATE ledger.hold_state SET remaining = 0, state = 'released' WHERE reference = p_hold;
            RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'insufficient_funds');
        END IF;
        INSERT INTO ledger.gate (entry_id, account_id, amount, available_before)
        VALUES (this, accounts[p_bound], p_hold_amount, -bound.posted - bound.pending_debit);
    END IF;

    -- The lines.
    FOR number IN 1 .. coalesce(cardinality(p_amounts), 0) LOOP
        CONTINUE WHEN p_amounts[number] = 0;  -- an account that is only named for the hold, or a fee of nothing
        l_account := l_account || accounts[number];
        l_layer := l_layer || 0::smallint;
        l_amount := l_amount || p_amounts[number];
    END LOOP;
    IF p_hold_action = 'open' OR drawn > 0 THEN
        l_account := l_account || held.debit_account || held.credit_account;
        l_layer := l_layer || 1::smallint || 2::smallint;
        l_amount := l_amount || CASE WHEN p_hold_action = 'open' THEN ARRAY[p_hold_amount, -p_hold_amount]
                                     ELSE ARRAY[-drawn, drawn] END;
    END IF;

    INSERT INTO ledger.entry
        (entry_id, posted_at, effective_at, reference, operation, kind, nature, hold, reverses, actor)
    VALUES (this, at, coalesce(p_effective_at, at), p_reference, p_operation, p_kind, p_nature, p_hold, p_reverses, p_actor);
    IF cardinality(l_account) > 0 THEN
        PERFORM ledger.write_lines(this, at, l_account, l_layer, l_amount);
    END IF;

    -- The projections.
    IF p_hold_action = 'open' THEN
        INSERT INTO ledger.hold
            (reference, entry_id, currency, amount, debit_account, credit_account, payment, expires_at)
        VALUES (p_hold, this, p_currencies[1], p_hold_amount, held.debit_account, held.credit_account, p_payment,
                coalesce(p_hold_expires_at, 'infinity'));
    ELSIF state.state = 'open' THEN
        UPDATE ledger.hold_state s
        SET remaining = s.remaining - drawn,
            state = CASE WHEN p_hold_action = 'release' THEN 'released' WHEN s.remaining = drawn THEN 'used' ELSE 'open' END
        WHERE s.reference = p_hold;
    END IF;
    IF owed.payment IS NOT NULL THEN
        UPDATE ledger.refundable r
        SET captured = r.captured + p_captured,
            refunded = r.refunded + p_refunded,
            disputed = r.disputed + p_disputed,
            reserved = r.reserved
                + CASE WHEN reserves IS NULL THEN 0 WHEN p_hold_action = 'open' THEN p_hold_amount ELSE -drawn END
        WHERE r.payment = owed.payment;
    END IF;

    INSERT INTO ledger.event (at, actor, action, subject, entry_id, detail)
    VALUES (at, p_actor, 'ledger.posted', p_reference, this, jsonb_build_object('kind', p_kind, 'nature', p_nature));
    RETURN ('posted', this, NULL, state.remaining)::ledger.posted;
END
$$;
