-- What the database refuses whoever asks: a change of what has been written, and an entry that does not balance.
-- Triggers bind the owner and a superuser too. A partition needs its own: rows can be written to it directly.
SET LOCAL ROLE ledger_owner;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of ledger.% refused: what is written stays; correct it with a new entry', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation';
END
$$;

-- Sees all rows of one INSERT, and so whole entries: the posting functions write an entry's postings in one statement.
CREATE FUNCTION ledger.refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    broken record;
BEGIN
    SELECT i.entry_id, i.currency, bool_or(a.currency IS DISTINCT FROM i.currency) AS mixed INTO broken
    FROM inserted i LEFT JOIN ledger.account a ON a.id = i.account_id
    GROUP BY i.entry_id, i.currency
    HAVING sum(i.posted) <> 0 OR sum(i.pending_debit) <> sum(i.pending_credit)
        OR bool_or(a.currency IS DISTINCT FROM i.currency)
    LIMIT 1;
    IF broken.mixed THEN
        RAISE EXCEPTION 'entry % has a posting in %, which is not its account''s currency', broken.entry_id, broken.currency
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF broken.entry_id IS NOT NULL THEN
        RAISE EXCEPTION 'entry % does not sum to zero in % posted and pending', broken.entry_id, broken.currency
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION ledger.guard(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    IF name LIKE 'posting%' THEN
        EXECUTE format(
            'CREATE TRIGGER zero_sum AFTER INSERT ON ledger.%I REFERENCING NEW TABLE AS inserted '
            'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_unbalanced()', name);
    END IF;
END
$$;

SELECT ledger.guard(name)
FROM unnest(ARRAY['currency', 'account', 'entry_key', 'entry', 'posting', 'rejection', 'event']) AS name;

-- The projections may change, but no row of them may go, and what a hold is stays.
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.balance
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.hold
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.refundable
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER same_account BEFORE UPDATE OF account_id, currency ON ledger.balance
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER same_hold
    BEFORE UPDATE OF reference, currency, debit_account, credit_account, payment, amount, expires_at ON ledger.hold
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER same_payment BEFORE UPDATE OF payment, currency ON ledger.refundable
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- There is no default partition: it would swallow rows and block the month's own. A missing month fails loudly.
CREATE FUNCTION ledger.add_month(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    part   text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['entry', 'posting'] LOOP
        part := parent || to_char(month, '_YYYYMM');
        CONTINUE WHEN to_regclass('ledger.' || part) IS NOT NULL;
        -- Made beside its parent and then attached: PARTITION OF would wait for every reader, and all posting for it.
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.%I INCLUDING ALL)', part, parent);
        PERFORM ledger.guard(part);
        EXECUTE format('ALTER TABLE ledger.%I ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
            parent, part, month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    END LOOP;
END
$$;

-- Make the partitions of this month and of so many ahead. Rather fails than waits long: posting would wait behind it.
CREATE FUNCTION ledger.ensure_months(ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.ensure_months'));
    PERFORM ledger.add_month((date_trunc('month', now() AT TIME ZONE 'UTC') + number * interval '1 month')::date)
    FROM generate_series(0, ahead) AS number;
END
$$;

SELECT ledger.ensure_months(12);

GRANT EXECUTE ON FUNCTION ledger.ensure_months TO ledger_poster;
