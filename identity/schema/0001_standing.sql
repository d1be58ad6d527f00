-- What is known of a merchant: the answers of those who check identities and sanctions lists, as they come. Only ever
-- added to; the latest answer of a check is the one that counts.

CREATE SCHEMA identity;

CREATE TABLE identity.standing (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant text        NOT NULL,
    "check"  text        NOT NULL CHECK ("check" IN ('kyc', 'sanctions')),
    answer   text        NOT NULL,
    actor    text        NOT NULL CHECK (actor <> ''),  -- who says so: a person, or the checking service
    why      text        NOT NULL CHECK (why <> ''),
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (answer IN ('verified', 'rejected', 'pending') AND "check" = 'kyc'
        OR answer IN ('clear', 'hit', 'pending') AND "check" = 'sanctions')
);
CREATE INDEX standing_of ON identity.standing (merchant, "check", id DESC);

CREATE FUNCTION identity.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of identity.% refused: what has been written stays', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.standing
    FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_change();

-- The worker asks; people and their tools write, and do not choose when it was written.
GRANT USAGE ON SCHEMA identity TO holdfast_worker, holdfast;
GRANT SELECT ON identity.standing TO holdfast_worker, holdfast;
GRANT INSERT (merchant, "check", answer, actor, why) ON identity.standing TO holdfast;
