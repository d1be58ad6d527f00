-- Seals: what has been written is digested window by window, each seal on top of the one before, and signed by a key
-- that the database does not hold. Whoever changes a sealed row afterwards, triggers off or not, no longer comes to the
-- signed root. ledger/seals.py makes the roots, signs them and verifies them.
--
-- A window is a range of transaction ids below the oldest transaction still running. Nothing below it can be committed
-- any more: each committed row is in exactly one window, however long its transaction took. A window by time or by row
-- number would miss the rows of a transaction that commits late.
--
-- A digest is of the rows' binary form (`record_send`: number of columns, then of each the type's number, the length and
-- the bytes), which no setting of a session changes; columns are listed one by one, so that a column added later does not
-- change the digests of what was sealed before. Listing it as well is a new layout, with functions of its own.
SET LOCAL ROLE ledger_owner;

CREATE TABLE ledger.seal (
    seal_id   bigint      PRIMARY KEY CHECK (seal_id > 0),  -- 1, 2, 3, without a gap
    layout    smallint    NOT NULL CHECK (layout = 1),
    from_xid  xid8        NOT NULL UNIQUE,  -- a window has one successor: the chain cannot fork
    upto_xid  xid8        NOT NULL,         -- itself not in the window
    rows      bigint      NOT NULL CHECK (rows > 0),  -- nothing is not sealed
    previous  bytea       NOT NULL,         -- the root of the seal before; empty of the first
    root      bytea       NOT NULL CHECK (length(root) = 32),
    sealed_at timestamptz NOT NULL,
    key_id    text        NOT NULL COLLATE "C",
    signature bytea       NOT NULL CHECK (length(signature) = 64),
    CHECK (from_xid < upto_xid)
);

-- A digest for the rejections in the window, for the events, and for the entries of each month. So a month that was taken
-- out stays provable: its parts are here, signed as part of the roots, and its rows in the archive come to the same.
CREATE TABLE ledger.seal_part (
    seal_id bigint NOT NULL REFERENCES ledger.seal,
    source  text   NOT NULL COLLATE "C" CHECK (source IN ('entry', 'rejection', 'event')),
    month   date,  -- of entries; the others are never taken out
    rows    bigint NOT NULL CHECK (rows > 0),
    digest  bytea  NOT NULL CHECK (length(digest) = 32),
    marks   bytea  NOT NULL CHECK (length(marks) = 4 * rows),  -- the first four bytes of each row's digest: not signed,
                                                             -- and only to find the row that was changed
    UNIQUE NULLS NOT DISTINCT (seal_id, source, month),
    CHECK ((month IS NOT NULL) = (source = 'entry'))
);
CREATE INDEX seal_part_month ON ledger.seal_part (month);

SELECT ledger.guard(name) FROM unnest(ARRAY['seal', 'seal_part']) AS name;

-- Digest the entries of a window, each with its fingerprint and its postings; those of a span of time only, by which
-- all months but that one are left alone. Fingerprint and postings are looked up one by one: a join might choose to read
-- all that has ever been written, for each window again.
CREATE FUNCTION ledger.entry_leaves_1(p_from xid8, p_upto xid8, p_since timestamptz, p_until timestamptz)
RETURNS TABLE (source text, month date, number bigint, leaf bytea) LANGUAGE sql STABLE ROWS 20000 AS $$
    SELECT 'entry', date_trunc('month', e.posted_at AT TIME ZONE 'UTC')::date, e.entry_id,
           sha256(record_send(ROW(
               e.entry_id, e.posted_at, e.effective_at, e.reference, e.operation, e.kind, e.nature, e.actor, e.why,
               e.reverses, e.currency, e.hold, e.hold_amount, e.hold_expires_at, e.bounded_account, e.available_before,
               e.payment, e.captured, e.refunded, e.disputed, e.xid,
               (SELECT k.fingerprint FROM ledger.entry_key k WHERE k.reference = e.reference AND k.entry_id = e.entry_id)
           )) || coalesce((
               SELECT string_agg(record_send(ROW(
                   p.entry_id, p.account_id, p.currency, p.posted, p.pending_debit, p.pending_credit,
                   p.posted_after, p.pending_debit_after, p.pending_credit_after, p.version, p.posted_at
               )), '' ORDER BY p.account_id)
               FROM ledger.posting p WHERE p.entry_id = e.entry_id AND p.posted_at = e.posted_at
           ), ''))
    FROM ledger.entry e
    WHERE e.xid >= p_from AND e.xid < p_upto AND e.posted_at >= p_since AND e.posted_at < p_until
$$;

CREATE FUNCTION ledger.rejection_leaves_1(p_from xid8, p_upto xid8)
RETURNS TABLE (source text, month date, number bigint, leaf bytea) LANGUAGE sql STABLE ROWS 1000 AS $$
    SELECT 'rejection', NULL::date, r.entry_id, sha256(record_send(ROW(
        r.entry_id, r.reference, r.operation, r.kind, r.actor, r.status, r.amount, r.currency, r.at, r.xid,
        (SELECT k.fingerprint FROM ledger.entry_key k WHERE k.reference = r.reference AND k.entry_id = r.entry_id)
    )))
    FROM ledger.rejection r
    WHERE r.xid >= p_from AND r.xid < p_upto
$$;

CREATE FUNCTION ledger.event_leaves_1(p_from xid8, p_upto xid8)
RETURNS TABLE (source text, month date, number bigint, leaf bytea) LANGUAGE sql STABLE ROWS 1000 AS $$
    SELECT 'event', NULL::date, v.id, sha256(record_send(ROW(
        v.id, v.at, v.actor, v.action, v.subject, v.why, v.before, v.detail, v.xid
    )))
    FROM ledger.event v
    WHERE v.xid >= p_from AND v.xid < p_upto
$$;

-- Digest each row of a window.
CREATE FUNCTION ledger.window_leaves_1(p_from xid8, p_upto xid8)
RETURNS TABLE (source text, month date, number bigint, leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET client_encoding = 'UTF8' AS $$  -- in which a text is sent, and so digested
    SELECT * FROM ledger.entry_leaves_1(p_from, p_upto, '-infinity', 'infinity')
    UNION ALL
    SELECT * FROM ledger.rejection_leaves_1(p_from, p_upto)
    UNION ALL
    SELECT * FROM ledger.event_leaves_1(p_from, p_upto)
$$;

-- The parts of a window: a part's digest is that of its rows' digests, in the order of their numbers.
CREATE FUNCTION ledger.window_parts_1(p_from xid8, p_upto xid8)
RETURNS TABLE (source text, month date, rows bigint, digest bytea, marks bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT source, month, count(*), sha256(string_agg(leaf, '' ORDER BY number)),
           string_agg(substr(leaf, 1, 4), '' ORDER BY number)
    FROM ledger.window_leaves_1(p_from, p_upto)
    GROUP BY source, month ORDER BY source COLLATE "C", month
$$;

-- Recompute what each seal holds of a month, from the rows that are there: to be compared with `seal_part`.
CREATE FUNCTION ledger.month_digests(p_month date)
RETURNS TABLE (seal_id bigint, rows bigint, digest bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_encoding = 'UTF8' AS $$
    SELECT s.seal_id, part.rows, part.digest
    FROM ledger.seal s CROSS JOIN LATERAL (
        SELECT count(*) AS rows, sha256(string_agg(leaf, '' ORDER BY number)) AS digest
        FROM ledger.entry_leaves_1(
            s.from_xid, s.upto_xid,
            p_month::timestamp AT TIME ZONE 'UTC', (p_month + interval '1 month') AT TIME ZONE 'UTC')
    ) AS part
    WHERE part.rows > 0
    ORDER BY s.seal_id
$$;

-- Where the next window begins: where the last one ended.
CREATE FUNCTION ledger.sealed_upto() RETURNS xid8 LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT upto_xid FROM ledger.seal ORDER BY seal_id DESC LIMIT 1), '0')
$$;

-- The rows that are not sealed yet, in the order in which they will be; `at` is when they were written.
CREATE VIEW ledger.unsealed AS
    SELECT xid, posted_at AS at FROM ledger.entry WHERE xid >= ledger.sealed_upto()
    UNION ALL
    SELECT xid, at FROM ledger.rejection WHERE xid >= ledger.sealed_upto()
    UNION ALL
    SELECT xid, at FROM ledger.event WHERE xid >= ledger.sealed_upto();

-- The next window: up to the oldest transaction that is still running, yet not of many more rows than asked. The last
-- transaction is in it as a whole. No row: there is nothing to seal.
CREATE FUNCTION ledger.next_window(p_rows_max bigint) RETURNS TABLE (from_xid xid8, upto_xid xid8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH due AS (
        SELECT xid FROM ledger.unsealed WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid LIMIT p_rows_max
    )
    SELECT ledger.sealed_upto(), ((max(xid)::text::numeric + 1)::text)::xid8 FROM due HAVING count(*) > 0
$$;

-- Add a seal that continues the last one. Raises where another was quicker, or where the window is not safe: one of
-- its transactions may still commit.
CREATE FUNCTION ledger.add_seal(p_seal ledger.seal, p_parts ledger.seal_part[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last ledger.seal;
BEGIN
    LOCK TABLE ledger.seal IN EXCLUSIVE MODE;  -- readers go on; the next sealer waits, and then sees this one's
    SELECT * INTO last FROM ledger.seal ORDER BY seal_id DESC LIMIT 1;
    IF p_seal.seal_id <> coalesce(last.seal_id, 0) + 1
        OR p_seal.from_xid <> coalesce(last.upto_xid, '0')
        OR p_seal.previous <> coalesce(last.root, '') THEN
        RAISE EXCEPTION 'seal % does not continue the last one, %', p_seal.seal_id, coalesce(last.seal_id, 0)
            USING ERRCODE = 'HF003';
    ELSIF p_seal.upto_xid > pg_snapshot_xmin(pg_current_snapshot()) THEN
        RAISE EXCEPTION 'seal % ends at %, and a transaction before that may still commit', p_seal.seal_id, p_seal.upto_xid
            USING ERRCODE = 'HF004';
    ELSIF p_seal.rows <> (SELECT sum(rows) FROM unnest(p_parts) WHERE seal_id = p_seal.seal_id) THEN
        RAISE EXCEPTION 'seal % and its parts differ in their rows', p_seal.seal_id USING ERRCODE = 'HF004';
    END IF;
    INSERT INTO ledger.seal SELECT p_seal.*;
    INSERT INTO ledger.seal_part SELECT * FROM unnest(p_parts);
END
$$;

-- Whether all rows of a month are under seals. Ask it again under the lock that takes the month out: only then nobody
-- can add to it.
CREATE FUNCTION ledger.is_sealed(p_month date) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT EXISTS (
        SELECT FROM ledger.entry
        WHERE posted_at >= p_month::timestamp AT TIME ZONE 'UTC'
          AND posted_at < (p_month + interval '1 month') AT TIME ZONE 'UTC'
          AND xid >= ledger.sealed_upto()
    )
$$;

-- How long the oldest row has been waiting for its seal; nothing waits: zero. It grows where nobody seals, and where a
-- transaction is left open.
CREATE FUNCTION ledger.seal_lag() RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(clock_timestamp() - (SELECT min(at) FROM ledger.unsealed), interval '0')
$$;

GRANT EXECUTE ON FUNCTION ledger.window_leaves_1, ledger.window_parts_1, ledger.month_digests, ledger.is_sealed, ledger.seal_lag, ledger.sealed_upto
    TO ledger_reader;
GRANT EXECUTE ON FUNCTION ledger.next_window, ledger.add_seal TO ledger_sealer;
