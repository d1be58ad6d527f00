-- The call journal: intent before, outcome after, of every call to a provider (money rule 5). A row is completed once
-- and never changed or removed; an open row tells that nobody knows what became of the call.

CREATE TABLE records.call (
    provider    text        NOT NULL,
    reference   text        NOT NULL COLLATE "C",
    verb        text        NOT NULL,
    number      integer     NOT NULL,
    content     bytea       NOT NULL CHECK (length(content) = 32),
    run         text        NOT NULL,  -- the workflow that asked: whom a webhook about this reference concerns
    sent_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome     text        CHECK (outcome IN ('done', 'refused', 'unavailable', 'pending', 'unknown', 'conflict')),
    answer      jsonb,
    seconds     real,
    answered_at timestamptz,
    PRIMARY KEY (provider, reference, verb, number),
    CHECK ((outcome IS NULL) = (answered_at IS NULL))
);
CREATE INDEX call_reference ON records.call (reference);
CREATE INDEX call_open ON records.call (sent_at) WHERE outcome IS NULL;

CREATE FUNCTION records.refuse_second_completion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.outcome IS NOT NULL OR (new.provider, new.reference, new.verb, new.number, new.content, new.run, new.sent_at)
        IS DISTINCT FROM (old.provider, old.reference, old.verb, old.number, old.content, old.run, old.sent_at) THEN
        RAISE EXCEPTION 'a call is completed once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER completed_once BEFORE UPDATE ON records.call
    FOR EACH ROW EXECUTE FUNCTION records.refuse_second_completion();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON records.call
    FOR EACH STATEMENT EXECUTE FUNCTION records.refuse_change();

CREATE TYPE records.begun AS (
    verdict text,  -- go, known, withheld, differs
    number  integer,
    sent_at timestamptz,
    answer  jsonb
);

-- May this call be made? An undo or an inquiry always; an effect if it was never sent, or if all that is known of its
-- last send is that it certainly had no effect.
CREATE FUNCTION records.begin_call(
    p_provider text, p_reference text, p_verb text, p_content bytea, p_run text, p_always boolean
) RETURNS records.begun LANGUAGE plpgsql AS $$
DECLARE
    latest records.call;
    made   integer;
BEGIN
    LOOP
        SELECT * INTO latest FROM records.call
        WHERE provider = p_provider AND reference = p_reference AND verb = p_verb ORDER BY number DESC LIMIT 1;
        IF latest.number IS NOT NULL AND NOT p_always THEN
            IF latest.content <> p_content THEN
                RETURN ('differs', latest.number, latest.sent_at, NULL)::records.begun;
            ELSIF latest.outcome IN ('done', 'refused') THEN
                RETURN ('known', latest.number, latest.sent_at, latest.answer)::records.begun;
            ELSIF latest.outcome IS DISTINCT FROM 'unavailable' THEN
                RETURN ('withheld', latest.number, latest.sent_at, NULL)::records.begun;
            END IF;
        END IF;
        INSERT INTO records.call (provider, reference, verb, number, content, run)
        VALUES (p_provider, p_reference, p_verb, coalesce(latest.number, 0) + 1, p_content, p_run)
        ON CONFLICT DO NOTHING RETURNING number INTO made;
        IF made IS NOT NULL THEN
            RETURN ('go', made, clock_timestamp(), NULL)::records.begun;
        END IF;  -- another was quicker: look again at what it has written
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON records.call TO records_writer;
GRANT UPDATE (outcome, answer, seconds, answered_at) ON records.call TO records_writer;
