-- Posting: one call, one commit, one entry. The steps are in the file before this one.
SET LOCAL ROLE ledger_owner;

-- Post one entry.
--   p_nature        'gate': may be refused, finally; 'fact': has happened, and is booked whatever stands against it
--   p_codes …       the lines of the posted layer; the pending lines are this function's business
--   p_hold_action   'none'; 'open': hold p_hold_amount; 'use': a fact that draws p_hold_amount, or what is left of it
--                   (p_hold_final gives the rest up); 'release': all that is left, done also where nothing was held
--   p_hold_seconds  how long a hold that is opened stands; null: until it is released
--   p_hold_debit …  indexes into p_codes: the accounts of the pending lines of a hold that is opened
--   p_bound         index of the account in p_codes, or 0: a gate may not exceed what is available there
--   p_payment …     whose refundable row changes, and by what; a hold that is opened with a payment reserves of it
CREATE FUNCTION ledger.post(
    p_reference text, p_fingerprint bytea, p_operation text, p_kind text, p_nature text, p_actor text,
    p_effective_at timestamptz, p_reverses text,
    p_codes text[], p_currencies text[], p_normals smallint[], p_amounts bigint[],
    p_hold text, p_hold_action text, p_hold_amount bigint, p_hold_final boolean, p_hold_seconds double precision,
    p_hold_debit smallint, p_hold_credit smallint, p_bound smallint,
    p_payment text, p_captured bigint, p_refunded bigint, p_disputed bigint
) RETURNS ledger.posted
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    this      bigint;
    accounts  bigint[];           -- of p_codes
    held      ledger.hold;
    state     ledger.hold_state;
    owed      ledger.refundable;
    pending   bigint := 0;        -- how the pending layers grow, or shrink
    reserving bigint := 0;        -- how what is reserved of the payment grows, or shrinks
    closed    boolean;
    at        timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger posts under READ COMMITTED only: what is read after a lock must be fresh';
    END IF;

    -- The reference: once, for ever.
    INSERT INTO ledger.entry_key (reference, fingerprint) VALUES (p_reference, p_fingerprint)
    ON CONFLICT DO NOTHING RETURNING entry_id INTO this;
    IF this IS NULL THEN
        RETURN ledger.answer_again(p_reference, p_fingerprint, p_kind, p_actor);
    END IF;
    accounts := ledger.account_ids(p_codes, p_currencies, p_normals);

    -- The hold: opened, or drawn upon by no more than it has left.
    IF p_hold_action = 'open' THEN
        IF NOT ledger.open_hold(p_hold, p_hold_amount) THEN
            RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'hold_not_open');
        END IF;
        held.debit_account := accounts[p_hold_debit];
        held.credit_account := accounts[p_hold_credit];
        held.currency := p_currencies[p_hold_debit];
        held.payment := p_payment;
        pending := p_hold_amount;
    ELSIF p_hold_action IN ('use', 'release') THEN
        state := ledger.lock_hold(p_hold, p_hold_action);
        SELECT * INTO held FROM ledger.hold WHERE reference = p_hold;
        IF held.currency <> p_currencies[1] THEN
            RAISE EXCEPTION '%: the hold % is in %, not in %', p_reference, p_hold, held.currency, p_currencies[1];
        END IF;
        IF held.payment <> p_payment THEN
            RAISE EXCEPTION '%: the hold % is of the payment %, not of %', p_reference, p_hold, held.payment, p_payment;
        END IF;
        pending := -coalesce(state.remaining, 0);
        IF p_hold_action = 'use' AND NOT p_hold_final THEN
            pending := greatest(pending, -p_hold_amount);
        END IF;
    END IF;

    -- What is refundable of the payment.
    IF coalesce(held.payment, p_payment) IS NOT NULL THEN
        owed := ledger.lock_refundable(coalesce(held.payment, p_payment), coalesce(held.currency, p_currencies[1]), p_nature);
        reserving := CASE WHEN held.payment IS NULL THEN 0 ELSE pending END;
        -- In a currency other than the payment's nothing has been captured.
        IF p_nature = 'gate' AND (owed.currency IS DISTINCT FROM held.currency
            OR reserving > owed.captured - owed.refunded - owed.reserved - owed.disputed) THEN
            RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'refundable_exceeded', p_hold);
        END IF;
    END IF;

    -- The accounts, and the last reasons to refuse a gate.
    SELECT * INTO closed, at FROM ledger.lock_accounts(accounts || held.debit_account || held.credit_account);
    IF p_nature = 'gate' AND closed THEN
        RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'account_closed', p_hold);
    END IF;
    IF p_nature = 'gate' AND p_bound > 0 AND NOT ledger.is_within_bound(this, accounts[p_bound], p_hold_amount) THEN
        RETURN ledger.reject(this, p_reference, p_kind, p_actor, 'insufficient_funds', p_hold);
    END IF;

    -- From here on nothing is refused.
    INSERT INTO ledger.entry
        (entry_id, posted_at, effective_at, reference, operation, kind, nature, hold, reverses, actor,
         payment, captured, refunded, disputed)
    VALUES (this, at, coalesce(p_effective_at, at), p_reference, p_operation, p_kind, p_nature, p_hold, p_reverses, p_actor,
            owed.payment, p_captured, p_refunded, p_disputed);
    PERFORM ledger.write_lines(
        this, at,
        accounts || held.debit_account || held.credit_account,
        array_fill(0::smallint, ARRAY[cardinality(accounts)]) || 1::smallint || 2::smallint,
        p_amounts || pending || -pending);

    -- The projections.
    IF p_hold_action = 'open' THEN
        INSERT INTO ledger.hold
            (reference, entry_id, currency, amount, debit_account, credit_account, payment, expires_at)
        VALUES (p_hold, this, held.currency, p_hold_amount, held.debit_account, held.credit_account, held.payment,
                coalesce(at + make_interval(secs => p_hold_seconds), 'infinity'));
    ELSIF state.state = 'open' THEN
        UPDATE ledger.hold_state s
        SET remaining = s.remaining + pending,
            state = CASE WHEN p_hold_action = 'release' THEN 'released'
                         WHEN s.remaining + pending = 0 THEN 'used' ELSE 'open' END
        WHERE s.reference = p_hold;
    END IF;
    UPDATE ledger.refundable r
    SET captured = r.captured + p_captured,
        refunded = r.refunded + p_refunded,
        disputed = r.disputed + p_disputed,
        reserved = r.reserved + reserving
    WHERE r.payment = owed.payment;

    INSERT INTO ledger.event (at, actor, action, subject, entry_id, detail)
    VALUES (at, p_actor, 'ledger.posted', p_reference, this, jsonb_build_object('kind', p_kind, 'nature', p_nature));
    RETURN ('posted', this, NULL, state.remaining)::ledger.posted;
END
$$;
