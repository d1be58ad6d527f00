-- What providers tell us, as it came: the row first, then a fast answer, then the meaning (money rule 14).

CREATE TABLE records.inbox (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider    text        NOT NULL,
    event_id    text        NOT NULL COLLATE "C",
    raw         bytea       NOT NULL,
    digest      bytea       NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    handled_at  timestamptz,
    note        text,
    UNIQUE (provider, event_id)
);
CREATE INDEX inbox_waiting ON records.inbox (id) WHERE handled_at IS NULL;

CREATE FUNCTION records.receive(p_provider text, p_event_id text, p_raw bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    known bytea;
BEGIN
    INSERT INTO records.inbox (provider, event_id, raw, digest) VALUES (p_provider, p_event_id, p_raw, sha256(p_raw))
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN 'new';
    END IF;
    SELECT digest INTO STRICT known FROM records.inbox WHERE provider = p_provider AND event_id = p_event_id;
    RETURN CASE WHEN known = sha256(p_raw) THEN 'duplicate' ELSE 'altered' END;
END
$$;

CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON records.inbox
    FOR EACH STATEMENT EXECUTE FUNCTION records.refuse_change();

GRANT SELECT, INSERT ON records.inbox TO records_writer;
GRANT UPDATE (handled_at, note) ON records.inbox TO records_writer;
