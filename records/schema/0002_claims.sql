-- Idempotency claims: who works on a key, until when, under which fence; and the answer, byte for byte.

-- No fence is given out twice: a key that was freed and claimed afresh must not meet a fence of an earlier owner.
CREATE SEQUENCE records.fence;

CREATE TABLE records.claim (
    client      text        NOT NULL COLLATE "C",
    mode        text        NOT NULL,
    key         text        NOT NULL COLLATE "C" CHECK (length(key) BETWEEN 1 AND 255),
    operation   text        NOT NULL,
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32),
    resource    text        NOT NULL COLLATE "C",
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    fence       bigint      NOT NULL DEFAULT nextval('records.fence'),
    taken_over  boolean     NOT NULL DEFAULT false,
    lease_until timestamptz,
    status      smallint,
    headers     jsonb,
    body        bytea,
    expires_at  timestamptz NOT NULL DEFAULT clock_timestamp() + interval '30 days',
    PRIMARY KEY (client, mode, key),
    CHECK ((status IS NULL) = (body IS NULL)),
    CHECK ((status IS NULL) = (lease_until IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX claim_expiry ON records.claim (expires_at);

CREATE TYPE records.claimed AS (
    outcome     text,  -- claimed, taken_over, replay, in_flight, mismatch
    resource    text,
    fence       bigint,
    created_at  timestamptz,
    lease_until timestamptz,
    lease_left  double precision,
    status      smallint,
    headers     jsonb,
    body        bytea
);

-- Two statements on purpose: the second one's snapshot sees the row that the first one met (one statement did not, for
-- half of all concurrent duplicates). And it is there to be seen: the first one has locked it, even where its condition
-- left it as it was. Only the database's clock counts.
CREATE FUNCTION records.make_claim(
    p_client text, p_mode text, p_key text, p_operation text, p_fingerprint bytea, p_resource text,
    p_lease double precision
) RETURNS records.claimed LANGUAGE plpgsql AS $$
DECLARE
    mine  records.claim;
    lease interval := make_interval(secs => p_lease);
BEGIN
    INSERT INTO records.claim AS c (client, mode, key, operation, fingerprint, resource, lease_until)
    VALUES (p_client, p_mode, p_key, p_operation, p_fingerprint, p_resource, clock_timestamp() + lease)
    ON CONFLICT (client, mode, key) DO UPDATE
        SET fence = excluded.fence, taken_over = true, lease_until = clock_timestamp() + lease
        WHERE c.status IS NULL AND c.lease_until < clock_timestamp()
          AND c.fingerprint = excluded.fingerprint AND c.operation = excluded.operation
    RETURNING * INTO mine;
    IF FOUND THEN
        RETURN (CASE WHEN mine.taken_over THEN 'taken_over' ELSE 'claimed' END, mine.resource, mine.fence,
                mine.created_at, mine.lease_until, p_lease, NULL, NULL, NULL)::records.claimed;
    END IF;
    SELECT * INTO STRICT mine FROM records.claim WHERE client = p_client AND mode = p_mode AND key = p_key;
    IF mine.fingerprint <> p_fingerprint OR mine.operation <> p_operation THEN
        RETURN ('mismatch', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::records.claimed;
    END IF;
    RETURN (CASE WHEN mine.status IS NULL THEN 'in_flight' ELSE 'replay' END, mine.resource, mine.fence,
            mine.created_at, mine.lease_until, greatest(0, extract(epoch FROM mine.lease_until - clock_timestamp())),
            mine.status, mine.headers, mine.body)::records.claimed;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON records.claim TO records_writer;
GRANT USAGE ON SEQUENCE records.fence TO records_writer;
