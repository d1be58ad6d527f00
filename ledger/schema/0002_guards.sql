-- What the database refuses whoever asks: a change of what has been written, and an entry that does not balance.
-- Triggers bind the owner and a superuser too. A partition needs its own: rows can be written to it directly.
SET LOCAL ROLE ledger_owner;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of ledger.% refused: what is written stays; correct it with a new entry', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation';
END
$$;

-- Sees all lines of one INSERT, and so whole entries: the posting function writes an entry's lines in one statement.
CREATE FUNCTION ledger.refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    broken bigint;
BEGIN
    SELECT entry_id INTO broken
    FROM inserted
    GROUP BY entry_id, currency
    HAVING coalesce(sum(amount) FILTER (WHERE layer = 0), 0) <> 0
        OR coalesce(sum(amount) FILTER (WHERE layer <> 0), 0) <> 0
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry % does not sum to zero in each currency and layer group', broken
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
FROM unnest(ARRAY['currency', 'account', 'entry_key', 'rejection', 'entry', 'posting', 'gate', 'hold', 'event']) AS name;

-- The projections may change, but no row of them may go.
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.balance
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.hold_state
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.refundable
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- There is no default partition: it would swallow rows and block the month's own. A missing month fails loudly.
CREATE FUNCTION ledger.add_month(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    part   text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['entry', 'posting', 'event'] LOOP
        part := parent || to_char(month, '_YYYYMM');
        CONTINUE WHEN to_regclass('ledger.' || part) IS NOT NULL;
        EXECUTE format('CREATE TABLE ledger.%I PARTITION OF ledger.%I FOR VALUES FROM (%L) TO (%L)',
            part, parent, month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        PERFORM ledger.guard(part);
    END LOOP;
END
$$;

-- Workers call this when they start, so that a year without a deployment cannot stop the posting.
CREATE FUNCTION ledger.ensure_months(ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.ensure_months'));
    PERFORM ledger.add_month((date_trunc('month', now() AT TIME ZONE 'UTC') + number * interval '1 month')::date)
    FROM generate_series(0, ahead) AS number;
END
$$;

SELECT ledger.ensure_months(12);
