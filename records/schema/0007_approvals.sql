-- Approvals: one operator's word on a run that waits for a decision (money rule 15). A decision uses up two of them, by
-- two people, for exactly what it says. What was given is never changed and never removed.

CREATE TABLE records.approval (
    id        text        PRIMARY KEY COLLATE "C" DEFAULT 'apr_' || replace(gen_random_uuid()::text, '-', ''),
    run       text        NOT NULL COLLATE "C",  -- the workflow id
    reference text        NOT NULL COLLATE "C",
    outcome   text        NOT NULL CHECK (outcome IN ('done', 'refused')),
    evidence  text        NOT NULL CHECK (length(evidence) BETWEEN 1 AND 1000),
    digest    bytea       NOT NULL CHECK (digest = sha256(convert_to(evidence, 'UTF8'))),  -- an index takes no text so long
    actor     text        NOT NULL CHECK (actor <> ''),
    login     text        NOT NULL DEFAULT session_user,  -- who wrote it down: the API, or a person past it
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_by   text        COLLATE "C",  -- the approval together with which it made a decision
    used_at   timestamptz,
    UNIQUE (run, reference, outcome, digest, actor),
    CHECK ((used_by IS NULL) = (used_at IS NULL))
);

CREATE FUNCTION records.refuse_altered_approval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.used_by IS NOT NULL
        OR (new.id, new.run, new.reference, new.outcome, new.evidence, new.digest, new.actor, new.login, new.at)
        IS DISTINCT FROM
        (old.id, old.run, old.reference, old.outcome, old.evidence, old.digest, old.actor, old.login, old.at) THEN
        RAISE EXCEPTION 'an approval is used once, and never altered' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER never_altered BEFORE UPDATE ON records.approval
    FOR EACH ROW EXECUTE FUNCTION records.refuse_altered_approval();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON records.approval
    FOR EACH STATEMENT EXECUTE FUNCTION records.refuse_change();

-- Give an approval; the same again is the same approval. Two statements: see records.make_claim.
CREATE FUNCTION records.give_approval(p_run text, p_reference text, p_outcome text, p_evidence text, p_actor text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    p_digest bytea := sha256(convert_to(p_evidence, 'UTF8'));
    given    text;
BEGIN
    INSERT INTO records.approval (run, reference, outcome, evidence, digest, actor)
    VALUES (p_run, p_reference, p_outcome, p_evidence, p_digest, p_actor)
    ON CONFLICT DO NOTHING RETURNING id INTO given;
    IF given IS NULL THEN
        SELECT id INTO STRICT given FROM records.approval
        WHERE (run, reference, outcome, digest, actor) = (p_run, p_reference, p_outcome, p_digest, p_actor);
    END IF;
    RETURN given;
END
$$;

-- Use two approvals up for one decision; empty, or why not. The same decision again finds them its own.
CREATE FUNCTION records.use_approvals(
    p_run text, p_reference text, p_outcome text, p_evidence text, p_one text, p_other text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found_ids text[];
    actors    bigint;
    differs   text;
    spent     text;
BEGIN
    IF p_one = p_other THEN
        RETURN 'two approvals are needed, and these are one';
    END IF;
    PERFORM FROM records.approval WHERE id IN (p_one, p_other) ORDER BY id FOR UPDATE;  -- in one order: no deadlock
    SELECT array_agg(id), count(DISTINCT actor),
           min(id) FILTER (WHERE (run, reference, outcome, evidence)
                                 IS DISTINCT FROM (p_run, p_reference, p_outcome, p_evidence)),
           min(id) FILTER (WHERE used_by NOT IN (p_one, p_other))
    INTO found_ids, actors, differs, spent
    FROM records.approval WHERE id IN (p_one, p_other);
    IF coalesce(cardinality(found_ids), 0) < 2 THEN
        RETURN format('there is no approval %s', CASE WHEN p_one = ANY (found_ids) THEN p_other ELSE p_one END);
    ELSIF differs IS NOT NULL THEN
        RETURN format('the approval %s is not of this decision', differs);
    ELSIF actors < 2 THEN
        RETURN 'both approvals are by the same person';
    ELSIF spent IS NOT NULL THEN
        RETURN format('the approval %s has made another decision', spent);
    END IF;
    UPDATE records.approval
    SET used_by = CASE id WHEN p_one THEN p_other ELSE p_one END, used_at = clock_timestamp()
    WHERE id IN (p_one, p_other) AND used_by IS NULL;
    RETURN '';
END
$$;

-- The API, which has seen the operator's token, gives; the worker, which carries the decision out, uses. The login of a
-- person at a prompt may both, as it may post: it is for emergencies, and `login` shows where it was used.
GRANT SELECT ON records.approval TO holdfast_api, holdfast_worker, holdfast;
GRANT INSERT (run, reference, outcome, evidence, digest, actor) ON records.approval TO holdfast_api, holdfast;
GRANT UPDATE (used_by, used_at) ON records.approval TO holdfast_worker, holdfast;
