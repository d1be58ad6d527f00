-- Posting one entry: the path of a lone call, and the rules in their plainest form. 0010 does the same for many at once;
-- tests/property holds the two against each other.
SET LOCAL ROLE ledger_owner;

-- The reference is taken: answer as it was answered first, or say that the content differs.
CREATE FUNCTION ledger.answer_again(item ledger.item) RETURNS ledger.answer LANGUAGE plpgsql AS $$
DECLARE
    known record;
BEGIN
    SELECT k.entry_id, k.fingerprint, r.status INTO STRICT known
    FROM ledger.entry_key k LEFT JOIN ledger.rejection r USING (entry_id) WHERE k.reference = item.reference;
    IF known.fingerprint <> item.fingerprint THEN
        INSERT INTO ledger.event (actor, action, subject, detail)
        VALUES (item.actor, 'entry.conflict', item.reference, jsonb_build_object('kind', item.kind));
        RETURN ('conflicting_content', known.entry_id, NULL, NULL)::ledger.answer;
    ELSIF known.status IS NOT NULL THEN
        RETURN ('rejected_before', known.entry_id, known.status, NULL)::ledger.answer;
    END IF;
    RETURN ('replayed', known.entry_id, NULL, NULL)::ledger.answer;
END
$$;

-- Keep a refusal for ever, and give up the hold that it had opened.
CREATE FUNCTION ledger.refuse(this bigint, item ledger.item, p_status text) RETURNS ledger.answer LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.rejection (entry_id, reference, operation, kind, actor, status, amount, currency, at)
    VALUES (this, item.reference, item.operation, item.kind, item.actor, p_status, item.hold_amount, item.currency,
            clock_timestamp());
    IF item.hold_action = 'open' AND p_status <> 'hold_not_open' THEN
        UPDATE ledger.hold SET remaining = 0, state = 'voided' WHERE reference = item.hold;
    END IF;
    RETURN (p_status, this, NULL, NULL)::ledger.answer;
END
$$;

-- Open a hold, or lock the one that is there. A release of what was never held leaves a row, by which a hold that comes
-- late is refused. Null: it was to be opened, and is there already; or to be used, and is not there.
CREATE FUNCTION ledger.take_hold(item ledger.item) RETURNS ledger.hold LANGUAGE plpgsql AS $$
DECLARE
    held ledger.hold;
BEGIN
    IF item.hold_action = 'open' THEN
        INSERT INTO ledger.hold
            (reference, currency, debit_account, credit_account, payment, amount, expires_at, remaining, state)
        VALUES (item.hold, item.currency, item.hold_debit, item.hold_credit,
                CASE WHEN item.nature = 'gate' THEN item.payment END, item.hold_amount,
                coalesce(clock_timestamp() + make_interval(secs => item.hold_seconds), 'infinity'),
                item.hold_amount, 'open')
        ON CONFLICT DO NOTHING RETURNING * INTO held;
        RETURN held;
    END IF;
    SELECT * INTO held FROM ledger.hold WHERE reference = item.hold FOR UPDATE;
    IF held.reference IS NULL AND item.hold_action = 'release' THEN
        INSERT INTO ledger.hold (reference, amount, remaining, state) VALUES (item.hold, 0, 0, 'voided')
        ON CONFLICT DO NOTHING;
        SELECT * INTO held FROM ledger.hold WHERE reference = item.hold FOR UPDATE;
    END IF;
    RETURN held;
END
$$;

-- Whether a gate's reserve exceeds what is refundable of its payment, under the payment's lock.
CREATE FUNCTION ledger.exceeds_refundable(p_payment text, p_currency text, p_amount bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    refundable bigint;
BEGIN
    SELECT captured - refunded - reserved - disputed INTO refundable
    FROM ledger.refundable WHERE payment = p_payment AND currency = p_currency FOR UPDATE;
    RETURN p_amount > coalesce(refundable, 0);
END
$$;

-- Move what is refundable of a payment. Only a fact can be the first to speak of it.
CREATE FUNCTION ledger.move_refundable(
    p_payment text, p_currency text, p_captured bigint, p_refunded bigint, p_disputed bigint, p_reserved bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger.refundable
    SET captured = captured + p_captured, refunded = refunded + p_refunded,
        disputed = disputed + p_disputed, reserved = reserved + p_reserved
    WHERE payment = p_payment AND currency = p_currency;
    IF NOT FOUND THEN
        INSERT INTO ledger.refundable AS r (payment, currency, captured, refunded, disputed)
        VALUES (p_payment, p_currency, p_captured, p_refunded, p_disputed)
        ON CONFLICT (payment, currency) DO UPDATE
        SET captured = r.captured + excluded.captured, refunded = r.refunded + excluded.refunded,
            disputed = r.disputed + excluded.disputed;
    END IF;
END
$$;

-- Post one entry: one call, one commit. Raises `HF001` where an account is not open yet; nothing is written then.
CREATE FUNCTION ledger.post(item ledger.item) RETURNS ledger.answer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    this      bigint;
    held      ledger.hold;
    fresh     boolean := false;  -- this entry opens its hold
    refusal   text;
    pending   bigint := 0;       -- how the hold grows, or shrinks
    touched   bigint[] := item.accounts;
    locked    record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger posts under READ COMMITTED only: what is read after a lock must be fresh';
    END IF;

    -- The reference: once, for ever.
    INSERT INTO ledger.entry_key (reference, fingerprint) VALUES (item.reference, item.fingerprint)
    ON CONFLICT DO NOTHING RETURNING entry_id INTO this;
    IF this IS NULL THEN
        RETURN ledger.answer_again(item);
    END IF;

    -- The hold: opened, or drawn upon.
    IF item.hold IS NOT NULL THEN
        held := ledger.take_hold(item);
        IF item.hold_action = 'open' THEN
            fresh := held.reference IS NOT NULL;
            pending := CASE WHEN fresh THEN item.hold_amount ELSE 0 END;
            refusal := CASE WHEN NOT fresh THEN 'hold_not_open' END;
        ELSE
            pending := -ledger.drawn(held, item.hold_action, item.hold_amount, item.hold_final, item.currency);
            IF item.hold_action = 'use' THEN
                refusal := ledger.refusal_of_hold(held, item.hold_amount, item.currency);
            END IF;
        END IF;
        IF item.nature = 'gate' AND refusal IS NOT NULL THEN
            RETURN ledger.refuse(this, item, refusal);
        ELSIF held.payment <> item.payment THEN
            RAISE EXCEPTION '%: its hold is of %, not of %', item.reference, held.payment, item.payment;
        END IF;
        touched := ledger.touched(item.accounts, held);
    END IF;

    -- The accounts. The entry's time is taken under their locks, and never runs behind an account's last.
    SELECT count(*) AS known,
           bool_or(closed) AS closed,
           max(-posted - pending_debit) FILTER (WHERE account_id = item.bounded) AS available,
           greatest(clock_timestamp(), max(last_at)) AS at
    INTO locked
    FROM (
        SELECT * FROM ledger.balance WHERE account_id = ANY (touched) ORDER BY account_id FOR NO KEY UPDATE
    ) AS balance;
    IF locked.known < cardinality(touched) THEN
        RAISE EXCEPTION '% names an account that is not open', item.reference USING ERRCODE = 'HF001';
    END IF;

    -- The last reasons to refuse a gate.
    IF item.nature = 'gate' THEN
        refusal := CASE
            WHEN locked.closed THEN 'account_closed'
            WHEN item.hold_amount > locked.available THEN 'insufficient_funds'
            WHEN item.payment IS NOT NULL
                 AND ledger.exceeds_refundable(item.payment, item.currency, item.hold_amount) THEN 'refundable_exceeded'
        END;
        IF refusal IS NOT NULL THEN
            RETURN ledger.refuse(this, item, refusal);
        END IF;
    END IF;

    -- From here on nothing is refused.
    INSERT INTO ledger.entry
        (entry_id, posted_at, effective_at, reference, operation, kind, nature, actor, why, reverses, currency,
         hold, hold_amount, hold_expires_at, bounded_account, available_before, payment, captured, refunded, disputed)
    VALUES (this, locked.at, coalesce(item.effective_at, locked.at), item.reference, item.operation, item.kind, item.nature,
            item.actor, item.why, item.reverses, item.currency,
            item.hold, item.hold_amount, CASE WHEN fresh THEN held.expires_at END, item.bounded, locked.available,
            item.payment, item.captured, item.refunded, item.disputed);
    WITH moved AS (
        UPDATE ledger.balance b
        SET posted = b.posted + change.posted, pending_debit = b.pending_debit + change.debit,
            pending_credit = b.pending_credit + change.credit, version = b.version + 1, last_at = locked.at
        FROM (
            SELECT account_id, coalesce(amount, 0) AS posted,
                   CASE account_id WHEN held.debit_account THEN pending ELSE 0 END AS debit,
                   CASE account_id WHEN held.credit_account THEN pending ELSE 0 END AS credit
            FROM unnest(touched, item.amounts) AS line (account_id, amount)
        ) AS change
        WHERE b.account_id = change.account_id AND (change.posted <> 0 OR change.debit <> 0 OR change.credit <> 0)
        RETURNING b.*, change.posted AS by_posted, change.debit AS by_debit, change.credit AS by_credit
    )
    INSERT INTO ledger.posting
        (entry_id, account_id, currency, posted, pending_debit, pending_credit,
         posted_after, pending_debit_after, pending_credit_after, version, posted_at)
    SELECT this, account_id, currency, by_posted, by_debit, by_credit,
           posted, pending_debit, pending_credit, version, locked.at
    FROM moved;
    IF NOT fresh AND held.state = 'open' THEN
        UPDATE ledger.hold
        SET remaining = held.remaining + pending,
            state = ledger.state_after(held, item.hold_action, held.remaining + pending, locked.at)
        WHERE reference = item.hold;
    END IF;
    IF item.payment IS NOT NULL OR (held.payment IS NOT NULL AND pending <> 0) THEN
        PERFORM ledger.move_refundable(
            coalesce(item.payment, held.payment), coalesce(item.currency, held.currency),
            item.captured, item.refunded, item.disputed, CASE WHEN held.payment IS NULL THEN 0 ELSE pending END);
    END IF;
    RETURN ('posted', this, NULL, CASE WHEN NOT fresh THEN held.remaining END)::ledger.answer;
END
$$;

GRANT EXECUTE ON FUNCTION ledger.post TO ledger_poster;
