-- One row per operation (payment, capture, void, refund, payout) and one event per change of it: the outbox of domain
-- events and the audit trail at once. Events are only ever added.

DO $$
BEGIN
    CREATE ROLE records_writer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles are the cluster's: another database's migration was quicker
END
$$;

CREATE SCHEMA records;

CREATE TABLE records.operation (
    id                 text        PRIMARY KEY COLLATE "C",
    kind               text        NOT NULL CHECK (kind IN ('pay', 'cap', 'vd', 'rfd', 'po')),
    payment            text        COLLATE "C",  -- of a capture, void or refund
    client             text        NOT NULL DEFAULT '',
    merchant           text        NOT NULL DEFAULT '',
    provider           text        NOT NULL DEFAULT '',
    currency           text        NOT NULL,
    amount             bigint      NOT NULL CHECK (amount >= 0),
    total              bigint      NOT NULL DEFAULT 0,
    state              text        NOT NULL,
    reason             text        NOT NULL DEFAULT '',
    provider_id        text        NOT NULL DEFAULT '',
    reference          text        NOT NULL DEFAULT '' COLLATE "C",  -- the effect at the provider
    merchant_reference text        NOT NULL DEFAULT '',
    automatic          boolean     NOT NULL DEFAULT false,
    fingerprint        text        NOT NULL DEFAULT '',
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at         timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX operation_list ON records.operation (client, kind, created_at DESC, id DESC);
CREATE INDEX operation_of_payment ON records.operation (payment, created_at) WHERE payment IS NOT NULL;

CREATE TABLE records.event (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation text        NOT NULL COLLATE "C",
    name      text        NOT NULL,  -- such as payment.captured
    actor     text        NOT NULL,
    before    jsonb,
    after     jsonb       NOT NULL,
    relayed_at timestamptz             -- the outbox: when it was handed on
);
CREATE INDEX event_of_operation ON records.event (operation, id);
CREATE INDEX event_to_relay ON records.event (id) WHERE relayed_at IS NULL;

CREATE FUNCTION records.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of records.% refused: what has been written stays', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation';
END
$$;

-- An event's only change is that it was handed on.
CREATE FUNCTION records.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (new.id, new.at, new.operation, new.name, new.actor, new.before, new.after)
        IS DISTINCT FROM (old.id, old.at, old.operation, old.name, old.actor, old.before, old.after) THEN
        RAISE EXCEPTION 'an event is never rewritten' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER never_rewritten BEFORE UPDATE ON records.event FOR EACH ROW EXECUTE FUNCTION records.refuse_rewriting();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON records.event
    FOR EACH STATEMENT EXECUTE FUNCTION records.refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON records.operation
    FOR EACH STATEMENT EXECUTE FUNCTION records.refuse_change();

-- States that nothing leads on from, and where the few exceptions lead; the same as domain/lifecycle.py, tested.
CREATE TABLE records.terminal (
    kind   text NOT NULL,
    state  text NOT NULL,
    onward text NOT NULL DEFAULT '',
    PRIMARY KEY (kind, state)
);
INSERT INTO records.terminal (kind, state, onward) VALUES
    ('pay', 'not_started', ''), ('pay', 'blocked', ''), ('pay', 'captured', ''), ('pay', 'voided', ''),
    ('pay', 'expired', ''), ('pay', 'declined', ''),
    ('rfd', 'not_started', ''), ('rfd', 'rejected', ''), ('rfd', 'failed', ''), ('rfd', 'reversed', ''),
    ('rfd', 'succeeded', 'reversed'),
    ('po', 'not_started', ''), ('po', 'denied', ''), ('po', 'canceled', ''), ('po', 'failed', ''),
    ('po', 'returned', ''), ('po', 'paid', 'returned'),
    ('cap', 'succeeded', ''), ('cap', 'failed', ''), ('vd', 'succeeded', ''), ('vd', 'failed', '');

CREATE FUNCTION records.kind_name(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind WHEN 'pay' THEN 'payment' WHEN 'cap' THEN 'capture' WHEN 'vd' THEN 'void'
                     WHEN 'rfd' THEN 'refund' ELSE 'payout' END
$$;

-- Admit an operation that starts a run. Whoever is admitted once stays admitted; a start that comes when nobody can be
-- waiting any more is kept as not started, so that a later look finds what became of it.
CREATE FUNCTION records.admit(
    p_id text, p_payment text, p_client text, p_merchant text, p_provider text, p_currency text, p_amount bigint,
    p_merchant_reference text, p_automatic boolean, p_fingerprint text, p_admit_until double precision, p_actor text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    p_kind  text := split_part(p_id, '_', 1);
    stale   boolean := extract(epoch FROM clock_timestamp()) > p_admit_until;
    row_now records.operation;
BEGIN
    INSERT INTO records.operation AS o
        (id, kind, payment, client, merchant, provider, currency, amount, merchant_reference, automatic, fingerprint,
         state, reason)
    VALUES (p_id, p_kind, p_payment, p_client, p_merchant, p_provider, p_currency, p_amount, p_merchant_reference,
            p_automatic, p_fingerprint,
            CASE WHEN stale THEN 'not_started' ELSE 'requested' END, CASE WHEN stale THEN 'stale' ELSE '' END)
    ON CONFLICT (id) DO NOTHING
    RETURNING * INTO row_now;
    IF row_now.id IS NOT NULL THEN
        INSERT INTO records.event (operation, name, actor, after)
        VALUES (p_id, records.kind_name(p_kind) || '.' || row_now.state, p_actor,
                jsonb_build_object('state', row_now.state, 'reason', row_now.reason, 'amount', p_amount,
                                   'currency', p_currency));
        RETURN CASE WHEN stale THEN 'stale' ELSE 'admitted' END;
    END IF;
    SELECT * INTO STRICT row_now FROM records.operation WHERE id = p_id;
    RETURN CASE WHEN row_now.fingerprint <> p_fingerprint THEN 'conflict'
                WHEN row_now.reason = 'stale' THEN 'stale'  -- not: admitted, and then given up before it was sent
                ELSE 'admitted' END;
END
$$;

-- Write one row and the event of its change; nothing where nothing changed. A terminal state is left along its edge
-- only, so that a duplicate of an older write that comes late changes nothing.
CREATE FUNCTION records.write(
    p_id text, p_payment text, p_state text, p_currency text, p_amount bigint, p_total bigint, p_reason text,
    p_provider_id text, p_reference text, p_fingerprint text, p_actor text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p_kind text := split_part(p_id, '_', 1);
    old    records.operation;
    onward text;
BEGIN
    INSERT INTO records.operation AS o
        (id, kind, payment, client, merchant, provider, currency, amount, total, state, reason, provider_id, reference,
         fingerprint)
    SELECT p_id, p_kind, p_payment, coalesce(of.client, ''), coalesce(of.merchant, ''), coalesce(of.provider, ''),
           p_currency, p_amount, p_total, p_state, p_reason, p_provider_id, p_reference, p_fingerprint
    FROM (SELECT 1) AS one LEFT JOIN records.operation of ON of.id = p_payment
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO STRICT old FROM records.operation WHERE id = p_id FOR UPDATE;
        SELECT t.onward INTO onward FROM records.terminal t WHERE t.kind = p_kind AND t.state = old.state;
        IF onward IS NOT NULL AND p_state NOT IN (old.state, onward) THEN
            RETURN;
        END IF;
        IF (old.state, old.total, old.reason) = (p_state, p_total, p_reason)
            AND (p_provider_id IN ('', old.provider_id)) AND (p_reference IN ('', old.reference)) THEN
            RETURN;
        END IF;
        UPDATE records.operation
        SET state = p_state, total = p_total, reason = p_reason, updated_at = clock_timestamp(),
            provider_id = coalesce(nullif(p_provider_id, ''), provider_id),
            reference = coalesce(nullif(p_reference, ''), reference)
        WHERE id = p_id;
    END IF;
    INSERT INTO records.event (operation, name, actor, before, after)
    VALUES (p_id, records.kind_name(p_kind) || '.' || p_state, p_actor,
            CASE WHEN old.id IS NULL THEN NULL
                 ELSE jsonb_build_object('state', old.state, 'total', old.total, 'reason', old.reason) END,
            jsonb_build_object('state', p_state, 'total', p_total, 'reason', p_reason, 'currency', p_currency));
END
$$;

GRANT USAGE ON SCHEMA records TO records_writer;
GRANT SELECT, INSERT, UPDATE ON records.operation TO records_writer;
GRANT SELECT, INSERT ON records.event TO records_writer;
GRANT UPDATE (relayed_at) ON records.event TO records_writer;
GRANT SELECT ON records.terminal TO records_writer;
GRANT records_writer TO holdfast;
