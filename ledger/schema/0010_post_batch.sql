-- Posting many entries in one call and one commit: the rules of 0009, each step over all items at once.
--
-- Items of a batch never contend for what is judged: no two share a reference or a hold, or are gates on one account's
-- bound or on one payment. So each gate is judged by what stood before the batch; its entry comes before those of facts.
SET LOCAL ROLE ledger_owner;

-- What becomes of one item on its way. `status` is null as long as it is to be posted.
CREATE TYPE ledger.work AS (
    entry_id       bigint,
    status         text,
    first          text,
    held           ledger.hold,  -- as it was under its lock, or as it was opened
    fresh          boolean,      -- this item opened it
    pending        bigint,       -- how the hold grows, or shrinks
    available      bigint        -- of the account that bounds it
);

-- What there is in a batch, so that steps with nothing to do are left out. Refuses to work on items that contend: the
-- writer keeps them apart, and a caller that does not has a bug.
CREATE FUNCTION ledger.look_over(p_items ledger.item[], OUT holds boolean, OUT payments boolean, OUT gates boolean)
LANGUAGE plpgsql AS $$
DECLARE
    contended boolean;
BEGIN
    SELECT count(*) > count(DISTINCT reference) OR count(hold) > count(DISTINCT hold)
               OR count(bounded) > count(DISTINCT bounded)
               OR count(*) FILTER (WHERE nature = 'gate' AND payment IS NOT NULL)
                > count(DISTINCT payment || ' ' || currency) FILTER (WHERE nature = 'gate'),
           bool_or(hold IS NOT NULL), bool_or(hold IS NOT NULL OR payment IS NOT NULL), bool_or(nature = 'gate')
    INTO contended, holds, payments, gates
    FROM unnest(p_items);
    IF contended THEN
        RAISE EXCEPTION 'two entries of one batch contend for a reference, a hold, a bound or a payment'
            USING ERRCODE = 'HF002';
    END IF;
END
$$;

-- The references: once, for ever. Each item brings the number of its entry along: a reference that carries another one
-- was taken before, and is answered as it was first, or differs.
CREATE FUNCTION ledger.claim(p_items ledger.item[]) RETURNS ledger.work[] LANGUAGE plpgsql AS $$
DECLARE
    works   ledger.work[];
    claimed bigint;
BEGIN
    SELECT array_agg((nextval('ledger.entry_id'), NULL, NULL, NULL, false, 0, NULL)::ledger.work) INTO works
    FROM unnest(p_items);
    INSERT INTO ledger.entry_key (reference, fingerprint, entry_id)
    SELECT reference, fingerprint, entry_id FROM unnest(p_items, works) ORDER BY reference COLLATE "C"
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS claimed = ROW_COUNT;
    RETURN CASE WHEN claimed = cardinality(p_items) THEN works ELSE ledger.answer_all_again(p_items, works) END;
END
$$;

CREATE FUNCTION ledger.answer_all_again(p_items ledger.item[], p_works ledger.work[]) RETURNS ledger.work[]
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.event (actor, action, subject, detail)
    SELECT item.actor, 'entry.conflict', item.reference, jsonb_build_object('kind', item.kind)
    FROM unnest(p_items, p_works) AS item JOIN ledger.entry_key k USING (reference)
    WHERE k.entry_id <> item.entry_id AND k.fingerprint <> item.fingerprint;
    RETURN (
        SELECT array_agg((
            k.entry_id,
            CASE WHEN k.entry_id = item.entry_id THEN NULL
                 WHEN k.fingerprint <> item.fingerprint THEN 'conflicting_content'
                 WHEN r.entry_id IS NOT NULL THEN 'rejected_before'
                 ELSE 'replayed' END,
            CASE WHEN k.fingerprint = item.fingerprint THEN r.status END,
            NULL, false, 0, NULL
        )::ledger.work ORDER BY item.ordinality)
        FROM unnest(p_items, p_works) WITH ORDINALITY AS item
        JOIN ledger.entry_key k ON k.reference = item.reference
        LEFT JOIN ledger.rejection r ON r.entry_id = k.entry_id
    );
END
$$;

-- The holds: opened, or locked and drawn upon. First all that are new, then the locks, each in the order of their names.
CREATE FUNCTION ledger.take_holds(p_items ledger.item[], p_works ledger.work[]) RETURNS ledger.work[]
LANGUAGE plpgsql AS $$
DECLARE
    opened  text[];
    works   ledger.work[];
    strange text;
BEGIN
    WITH opening AS (
        INSERT INTO ledger.hold
            (reference, currency, debit_account, credit_account, payment, amount, expires_at, remaining, state)
        SELECT hold, CASE hold_action WHEN 'open' THEN currency END, hold_debit, hold_credit,
               CASE WHEN nature = 'gate' THEN payment END,
               CASE hold_action WHEN 'open' THEN hold_amount ELSE 0 END,
               coalesce(clock_timestamp() + make_interval(secs => hold_seconds), 'infinity'),
               CASE hold_action WHEN 'open' THEN hold_amount ELSE 0 END,
               CASE hold_action WHEN 'open' THEN 'open' ELSE 'voided' END
        FROM unnest(p_items, p_works) AS item
        WHERE status IS NULL AND (hold_action = 'open'
            OR (hold_action = 'release' AND NOT EXISTS (SELECT FROM ledger.hold h WHERE h.reference = item.hold)))
        ORDER BY hold COLLATE "C"
        ON CONFLICT DO NOTHING RETURNING reference, amount
    )
    SELECT coalesce(array_agg(reference) FILTER (WHERE amount > 0), '{}') INTO opened FROM opening;

    works := (
        WITH held AS MATERIALIZED (
            SELECT h AS held FROM ledger.hold h
            WHERE h.reference = ANY (ARRAY(SELECT hold FROM unnest(p_items, p_works) WHERE status IS NULL AND hold IS NOT NULL))
            ORDER BY h.reference FOR UPDATE
        ), item AS (
            SELECT item.*, held.held AS known, coalesce(item.hold = ANY (opened), false) AS opens
            FROM unnest(p_items, p_works) WITH ORDINALITY AS item
            LEFT JOIN held ON (held.held).reference = item.hold AND item.status IS NULL
        )
        SELECT array_agg((
            entry_id,
            CASE WHEN status IS NOT NULL OR nature <> 'gate' OR opens OR hold IS NULL THEN status
                 WHEN hold_action = 'open' THEN 'hold_not_open'
                 WHEN hold_action = 'use' THEN ledger.refusal_of_hold(known, hold_amount, currency) END,
            first,
            CASE WHEN hold_action <> 'open' OR opens THEN known END,
            opens,
            CASE WHEN opens THEN hold_amount WHEN hold_action = 'open' OR known IS NULL THEN 0
                 ELSE -ledger.drawn(known, hold_action, hold_amount, hold_final, currency) END,
            NULL
        )::ledger.work ORDER BY ordinality)
        FROM item
    );
    SELECT reference INTO strange FROM unnest(p_items, works) WHERE status IS NULL AND (held).payment <> payment LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: its hold is of another payment', strange;
    END IF;
    RETURN works;
END
$$;

-- Lock all accounts that the items touch, and judge the gates by them.
CREATE FUNCTION ledger.judge(p_items ledger.item[], p_gates boolean, INOUT works ledger.work[], OUT at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    touched   bigint[];
    locked    bigint;
BEGIN
    SELECT array_agg(DISTINCT account) INTO touched
    FROM unnest(p_items, works) AS item CROSS JOIN LATERAL unnest(CASE WHEN (held).currency IS NULL THEN accounts ELSE ledger.touched(accounts, held) END) AS account
    WHERE status IS NULL;
    SELECT count(*), greatest(clock_timestamp(), max(last_at)) INTO locked, at
    FROM (
        SELECT * FROM ledger.balance WHERE account_id = ANY (touched) ORDER BY account_id FOR NO KEY UPDATE
    ) AS balance;
    IF locked < cardinality(touched) THEN
        RAISE EXCEPTION 'the batch names an account that is not open' USING ERRCODE = 'HF001';
    ELSIF NOT p_gates THEN
        RETURN;
    END IF;

    PERFORM FROM ledger.refundable r
    WHERE (payment, currency) IN (
        SELECT coalesce(payment, (held).payment), coalesce(currency, (held).currency)
        FROM unnest(p_items, works) WHERE status IS NULL
    )
    ORDER BY payment, currency FOR UPDATE;
    SELECT array_agg((
        entry_id,
        CASE WHEN status IS NOT NULL OR nature <> 'gate' THEN status
             WHEN EXISTS (
                 SELECT FROM ledger.balance b WHERE b.account_id = ANY (ledger.touched(accounts, held)) AND b.closed
             ) THEN 'account_closed'
             WHEN hold_amount > -b.posted - b.pending_debit THEN 'insufficient_funds'
             WHEN item.payment IS NOT NULL
                  AND hold_amount > coalesce(r.captured - r.refunded - r.reserved - r.disputed, 0) THEN 'refundable_exceeded'
        END,
        first, held, fresh, pending, -b.posted - b.pending_debit
    )::ledger.work ORDER BY ordinality) INTO works
    FROM unnest(p_items, works) WITH ORDINALITY AS item
    LEFT JOIN ledger.balance b ON b.account_id = bounded
    LEFT JOIN ledger.refundable r ON r.payment = item.payment AND r.currency = item.currency;
END
$$;

-- Keep refusals for ever, and give up the holds that they had opened.
CREATE FUNCTION ledger.refuse_all(p_items ledger.item[], p_works ledger.work[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.rejection (entry_id, reference, operation, kind, actor, status, amount, currency, at)
    SELECT entry_id, reference, operation, kind, actor, status, hold_amount, currency, clock_timestamp()
    FROM unnest(p_items, p_works) WHERE ledger.is_refusal(status);
    UPDATE ledger.hold h SET remaining = 0, state = 'voided'
    FROM unnest(p_items, p_works) AS item WHERE h.reference = item.hold AND item.fresh AND ledger.is_refusal(item.status);
END
$$;

CREATE FUNCTION ledger.is_refusal(status text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT status NOT IN ('replayed', 'conflicting_content', 'rejected_before')
$$;

-- Write what each entry does to each account, with the account's balances after it, and bring the balances along: to
-- those after the last of its entries.
CREATE FUNCTION ledger.write_postings(p_items ledger.item[], p_works ledger.work[], p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH change AS (
        SELECT item.entry_id, line.account_id, bounded IS NULL AS unbounded, ordinality,
               coalesce(line.amount, 0) AS posted,
               CASE line.account_id WHEN (held).debit_account THEN pending ELSE 0 END AS debit,
               CASE line.account_id WHEN (held).credit_account THEN pending ELSE 0 END AS credit
        FROM unnest(p_items, p_works) WITH ORDINALITY AS item
        CROSS JOIN LATERAL unnest(
            CASE WHEN (held).currency IS NULL THEN accounts ELSE ledger.touched(accounts, held) END, amounts
        ) AS line (account_id, amount)
        WHERE status IS NULL
          AND (line.amount <> 0 OR (pending <> 0 AND line.account_id IN ((held).debit_account, (held).credit_account)))
    ), after AS MATERIALIZED (
        SELECT c.*, b.currency,
               (b.posted + sum(c.posted) OVER so_far)::bigint AS posted_after,
               (b.pending_debit + sum(c.debit) OVER so_far)::bigint AS debit_after,
               (b.pending_credit + sum(c.credit) OVER so_far)::bigint AS credit_after,
               b.version + row_number() OVER so_far AS version,
               lead(c.entry_id) OVER so_far IS NULL AS is_last
        FROM change c JOIN ledger.balance b USING (account_id)
        WINDOW so_far AS (PARTITION BY account_id ORDER BY unbounded, ordinality ROWS UNBOUNDED PRECEDING)
    ), moved AS (
        UPDATE ledger.balance b
        SET posted = a.posted_after, pending_debit = a.debit_after, pending_credit = a.credit_after,
            version = a.version, last_at = p_at
        FROM after a WHERE b.account_id = a.account_id AND a.is_last
    )
    INSERT INTO ledger.posting
        (entry_id, account_id, currency, posted, pending_debit, pending_credit,
         posted_after, pending_debit_after, pending_credit_after, version, posted_at)
    SELECT entry_id, account_id, currency, posted, debit, credit, posted_after, debit_after, credit_after, version, p_at
    FROM after;
END
$$;

-- Move the holds that were drawn upon, and what is refundable of the payments. What becomes of a payment that has no row
-- yet is inserted, in the order of their names.
CREATE FUNCTION ledger.move_projections(p_items ledger.item[], p_works ledger.work[], p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger.hold h
    SET remaining = h.remaining + item.pending,
        state = ledger.state_after(h, item.hold_action, h.remaining + item.pending, p_at)
    FROM unnest(p_items, p_works) AS item
    WHERE h.reference = item.hold AND item.status IS NULL AND NOT item.fresh AND h.state = 'open';

    WITH change AS MATERIALIZED (
        SELECT coalesce(payment, (held).payment) AS payment, coalesce(currency, (held).currency) AS currency,
               sum(captured)::bigint AS captured, sum(refunded)::bigint AS refunded, sum(disputed)::bigint AS disputed,
               coalesce(sum(pending) FILTER (WHERE (held).payment IS NOT NULL), 0)::bigint AS reserved
        FROM unnest(p_items, p_works)
        WHERE status IS NULL AND (payment IS NOT NULL OR ((held).payment IS NOT NULL AND pending <> 0))
        GROUP BY 1, 2
    ), locked AS MATERIALIZED (
        SELECT r.payment, r.currency FROM ledger.refundable r JOIN change USING (payment, currency)
        ORDER BY r.payment, r.currency FOR UPDATE OF r
    ), moved AS (
        UPDATE ledger.refundable r
        SET captured = r.captured + c.captured, refunded = r.refunded + c.refunded,
            disputed = r.disputed + c.disputed, reserved = r.reserved + c.reserved
        FROM change c JOIN locked USING (payment, currency)
        WHERE r.payment = c.payment AND r.currency = c.currency
        RETURNING r.payment, r.currency
    )
    INSERT INTO ledger.refundable AS r (payment, currency, captured, refunded, disputed)
    SELECT payment, currency, captured, refunded, disputed
    FROM change WHERE (payment, currency) NOT IN (SELECT payment, currency FROM moved)
    ORDER BY payment COLLATE "C", currency COLLATE "C"
    ON CONFLICT (payment, currency) DO UPDATE
    SET captured = r.captured + excluded.captured, refunded = r.refunded + excluded.refunded,
        disputed = r.disputed + excluded.disputed;
END
$$;

-- Post the entries, and answer each in its place. Raises `HF001` where an account is not open yet, `HF002` where items
-- contend; what one item breaks is not written for any: the caller then posts them apart.
CREATE FUNCTION ledger.post_batch(items ledger.item[]) RETURNS SETOF ledger.answer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off AS $$  -- a batch is small, whatever is guessed of it
DECLARE
    batch   record;
    works   ledger.work[];
    at      timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger posts under READ COMMITTED only: what is read after a lock must be fresh';
    END IF;
    batch := ledger.look_over(items);
    works := ledger.claim(items);
    IF batch.holds THEN
        works := ledger.take_holds(items, works);
    END IF;
    SELECT judged.works, judged.at INTO works, at FROM ledger.judge(items, batch.gates, works) AS judged;
    IF batch.gates THEN
        PERFORM ledger.refuse_all(items, works);
    END IF;

    INSERT INTO ledger.entry
        (entry_id, posted_at, effective_at, reference, operation, kind, nature, actor, why, reverses, currency,
         hold, hold_amount, hold_expires_at, bounded_account, available_before, payment, captured, refunded, disputed)
    SELECT entry_id, at, coalesce(effective_at, at), reference, operation, kind, nature, actor, why, reverses, currency,
           hold, hold_amount, CASE WHEN fresh THEN (held).expires_at END, bounded, available,
           payment, captured, refunded, disputed
    FROM unnest(items, works) WHERE status IS NULL;
    PERFORM ledger.write_postings(items, works, at);
    IF batch.payments THEN
        PERFORM ledger.move_projections(items, works, at);
    END IF;
    RETURN QUERY SELECT coalesce(status, 'posted'), entry_id, first,
           CASE WHEN NOT fresh AND status IS NULL THEN (held).remaining END
    FROM unnest(works) WITH ORDINALITY ORDER BY ordinality;
END
$$;

GRANT EXECUTE ON FUNCTION ledger.post_batch TO ledger_poster;
