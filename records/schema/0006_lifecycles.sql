-- Increments and disputes have rows too; a payout may name the one that it tries again; what comes late moves what had
-- ended, along the few edges that there are.

ALTER TABLE records.operation DROP CONSTRAINT operation_kind_check;
ALTER TABLE records.operation ADD CONSTRAINT operation_kind_check
    CHECK (kind IN ('pay', 'cap', 'vd', 'inc', 'rfd', 'po', 'dsp'));
ALTER TABLE records.operation ADD COLUMN replaces text NOT NULL DEFAULT '' COLLATE "C";

-- At most one payout that may still arrive takes the place of another.
CREATE UNIQUE INDEX operation_replaces ON records.operation (replaces)
    WHERE replaces <> '' AND state NOT IN ('not_started', 'denied', 'canceled', 'failed', 'returned');
CREATE INDEX operation_open_dispute ON records.operation (payment)
    WHERE kind = 'dsp' AND state IN ('requested', 'opened', 'funds_withdrawn');

INSERT INTO records.terminal (kind, state, onward) VALUES
    ('inc', 'succeeded', ''), ('inc', 'failed', ''), ('dsp', 'lost', ''), ('dsp', 'closed', '');
UPDATE records.terminal SET onward = 'failed' WHERE (kind, state) = ('cap', 'succeeded');  -- taken back by the provider

CREATE OR REPLACE FUNCTION records.kind_name(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind WHEN 'pay' THEN 'payment' WHEN 'cap' THEN 'capture' WHEN 'vd' THEN 'void'
                     WHEN 'inc' THEN 'increment' WHEN 'rfd' THEN 'refund' WHEN 'dsp' THEN 'dispute' ELSE 'payout' END
$$;

-- Let a payout take the place of one that has failed or come back, of the same client, merchant and currency. The row of
-- the old one is locked: of two that would replace it, one does. The same payout asked again is answered the same.
CREATE FUNCTION records.replace_payout(p_id text, p_replaces text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    old  records.operation;
    mine records.operation;
BEGIN
    SELECT * INTO old FROM records.operation WHERE id = p_replaces AND kind = 'po' FOR UPDATE;
    SELECT * INTO STRICT mine FROM records.operation WHERE id = p_id;
    IF mine.replaces = p_replaces THEN
        RETURN true;
    END IF;
    IF old.id IS NULL OR old.state NOT IN ('failed', 'returned')
        OR (old.client, old.merchant, old.currency) <> (mine.client, mine.merchant, mine.currency)
        OR EXISTS (
            SELECT FROM records.operation WHERE replaces = p_replaces
                AND state NOT IN ('not_started', 'denied', 'canceled', 'failed', 'returned')
        ) THEN
        RETURN false;
    END IF;
    UPDATE records.operation SET replaces = p_replaces WHERE id = p_id;
    RETURN true;
END
$$;

-- As in 0001, and: a payment may be routed to another provider and its authorized amount raised; an event may have a name
-- of its own. What has ended is left along its edge only. Where it stays, its total goes down (something was taken back),
-- up only with an event of its own name and never a payment's: an older write that comes late changes nothing.
CREATE FUNCTION records.write(
    p_id text, p_payment text, p_state text, p_currency text, p_amount bigint, p_total bigint, p_reason text,
    p_provider_id text, p_reference text, p_fingerprint text, p_provider text, p_event text, p_actor text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p_kind text := split_part(p_id, '_', 1);
    why    text := p_reason;
    old    records.operation;
    onward text;
    told   jsonb;
BEGIN
    INSERT INTO records.operation AS o
        (id, kind, payment, client, merchant, provider, currency, amount, total, state, reason, provider_id, reference,
         fingerprint)
    SELECT p_id, p_kind, p_payment, coalesce(of.client, ''), coalesce(of.merchant, ''),
           coalesce(nullif(p_provider, ''), of.provider, ''), p_currency, p_amount, p_total, p_state, p_reason,
           p_provider_id, p_reference, p_fingerprint
    FROM (SELECT 1) AS one LEFT JOIN records.operation of ON of.id = p_payment
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO STRICT old FROM records.operation WHERE id = p_id FOR UPDATE;
        SELECT t.onward INTO onward FROM records.terminal t WHERE t.kind = p_kind AND t.state = old.state;
        IF onward IS NOT NULL AND p_state NOT IN (old.state, onward) THEN
            RETURN;
        END IF;
        IF onward IS NOT NULL AND p_state = old.state AND p_total > old.total AND (p_event = '' OR p_kind = 'pay') THEN
            RETURN;
        END IF;
        IF onward IS NOT NULL AND p_state = old.state AND why = '' THEN
            why := old.reason;  -- why it ended stays true
        END IF;
    END IF;
    told := jsonb_build_object('state', p_state, 'total', p_total, 'reason', why, 'currency', p_currency);
    IF old.id IS NOT NULL THEN
        IF (old.state, old.total, old.reason) = (p_state, p_total, why)
            AND (p_kind <> 'pay' OR p_amount = old.amount)
            AND (p_event = '' OR EXISTS (
                SELECT FROM records.event e WHERE e.operation = p_id AND e.name = p_event AND e.after = told))
            AND p_provider_id IN ('', old.provider_id) AND p_reference IN ('', old.reference)
            AND p_provider IN ('', old.provider) THEN
            RETURN;
        END IF;
        UPDATE records.operation
        SET state = p_state, total = p_total, reason = why, updated_at = clock_timestamp(),
            amount = CASE WHEN p_kind = 'pay' THEN p_amount ELSE amount END,
            provider = coalesce(nullif(p_provider, ''), provider),
            provider_id = coalesce(nullif(p_provider_id, ''), provider_id),
            reference = coalesce(nullif(p_reference, ''), reference)
        WHERE id = p_id;
    END IF;
    INSERT INTO records.event (operation, name, actor, before, after)
    VALUES (p_id, coalesce(nullif(p_event, ''), records.kind_name(p_kind) || '.' || p_state), p_actor,
            CASE WHEN old.id IS NULL THEN NULL
                 ELSE jsonb_build_object('state', old.state, 'total', old.total, 'reason', old.reason) END,
            told);
END
$$;

-- As a worker of the release before calls it: while a new one is ramped, both are there.
CREATE OR REPLACE FUNCTION records.write(
    p_id text, p_payment text, p_state text, p_currency text, p_amount bigint, p_total bigint, p_reason text,
    p_provider_id text, p_reference text, p_fingerprint text, p_actor text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM records.write(p_id, p_payment, p_state, p_currency, p_amount, p_total, p_reason, p_provider_id, p_reference,
                          p_fingerprint, '', '', p_actor);
END
$$;

-- An event that cannot be handed on now waits, and holds no other up. One that fits nothing is kept for reconciliation.
ALTER TABLE records.inbox ADD COLUMN tries integer NOT NULL DEFAULT 0, ADD COLUMN next_at timestamptz,
    ADD COLUMN unexplained boolean NOT NULL DEFAULT false;
CREATE INDEX inbox_unexplained ON records.inbox (id) WHERE unexplained;
UPDATE records.inbox SET unexplained = true WHERE handled_at IS NOT NULL AND note NOT LIKE 'signaled %';
GRANT UPDATE (tries, next_at, unexplained) ON records.inbox TO records_writer;
