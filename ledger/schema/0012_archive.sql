-- Months of the journal that are over and sealed can be taken out, to files that ledger/archive.py writes, and put back.
--
-- Months go oldest first and come back newest first, so what is out is always the beginning of the journal, and one
-- instant says it all: `ledger.archived_until()`. What stands at that instant is kept here, and everything that is derived
-- goes on from it:
--
--   an account's balance and version  its latest row in opening_balance  + its postings
--   what a hold has left              its latest row in opening_hold, or nothing  + its entries
--   what became of a payment          its latest row in opening_refundable, or nothing  + its entries
--   keys                              as many as ledger.archived_entries() have neither entry nor rejection
--
-- "Latest" is of the months that are out: rows of months that were put back stay, and say nothing meanwhile. The views
-- opening_*_now pick them. A hold that was used up or released before that instant has no opening row: it has nothing
-- left, for ever. Nothing is taken out or put back while somebody holds ACCESS SHARE on ledger.archived_month: whoever
-- reads journal and opening state together takes that lock first (ledger.balance_at, ledger.verify).
SET LOCAL ROLE ledger_owner;

CREATE TABLE ledger.archived_month (
    month           date        PRIMARY KEY CHECK (month = date_trunc('month', month)),
    state           text        NOT NULL COLLATE "C" CHECK (state IN ('archived', 'detached', 'dropped', 'restored')),
    manifest_digest bytea       NOT NULL CHECK (length(manifest_digest) = 32),
    entries         bigint      NOT NULL,
    postings        bigint      NOT NULL,
    archived_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_by     text        NOT NULL,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp()  -- its state
);

CREATE TABLE ledger.opening_balance (
    account_id     bigint NOT NULL REFERENCES ledger.account,
    month          date   NOT NULL,
    posted         bigint NOT NULL,
    pending_debit  bigint NOT NULL CHECK (pending_debit >= 0),
    pending_credit bigint NOT NULL CHECK (pending_credit >= 0),
    version        bigint NOT NULL,
    PRIMARY KEY (account_id, month)
);

CREATE TABLE ledger.opening_hold (
    reference      text        NOT NULL COLLATE "C",
    month          date        NOT NULL,
    currency       text        NOT NULL COLLATE "C",
    debit_account  bigint      NOT NULL,
    credit_account bigint      NOT NULL,
    payment        text        COLLATE "C",
    amount         bigint      NOT NULL,
    expires_at     timestamptz NOT NULL,
    remaining      bigint      NOT NULL CHECK (remaining BETWEEN 0 AND amount),
    PRIMARY KEY (reference, month)
);

CREATE TABLE ledger.opening_refundable (
    payment  text   NOT NULL COLLATE "C",
    currency text   NOT NULL COLLATE "C",
    month    date   NOT NULL,
    captured bigint NOT NULL,
    refunded bigint NOT NULL,
    disputed bigint NOT NULL,
    PRIMARY KEY (payment, currency, month)
);

SELECT ledger.guard(name) FROM unnest(ARRAY['opening_balance', 'opening_hold', 'opening_refundable']) AS name;
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON ledger.archived_month
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER same_archive
    BEFORE UPDATE OF month, manifest_digest, entries, postings, archived_at, archived_by ON ledger.archived_month
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE FUNCTION ledger.first_instant(p_month date) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN p_month::timestamp AT TIME ZONE 'UTC';

CREATE FUNCTION ledger.next_month(p_month date) RETURNS date LANGUAGE sql IMMUTABLE
RETURN (p_month + interval '1 month')::date;

-- Every row of the journal before this instant is out, and none after it.
CREATE FUNCTION ledger.archived_until() RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(ledger.first_instant(ledger.next_month(max(month))), '-infinity')
    FROM ledger.archived_month WHERE state IN ('detached', 'dropped')
$$;

-- How many keys have their entry out.
CREATE FUNCTION ledger.archived_entries() RETURNS bigint LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(entries), 0)::bigint FROM ledger.archived_month WHERE state IN ('detached', 'dropped')
$$;

CREATE VIEW ledger.opening_balance_now AS
SELECT DISTINCT ON (account_id) * FROM ledger.opening_balance
WHERE ledger.first_instant(month) < (SELECT ledger.archived_until()) ORDER BY account_id, month DESC;

CREATE VIEW ledger.opening_hold_now AS
SELECT DISTINCT ON (reference) * FROM ledger.opening_hold
WHERE ledger.first_instant(month) < (SELECT ledger.archived_until()) ORDER BY reference, month DESC;

CREATE VIEW ledger.opening_refundable_now AS
SELECT DISTINCT ON (payment, currency) * FROM ledger.opening_refundable
WHERE ledger.first_instant(month) < (SELECT ledger.archived_until()) ORDER BY payment, currency, month DESC;

-- An account's balance at an instant, in one index probe. Raises `HF010` where the instant's month is out: a wrong zero
-- would be worse than no answer. Volatile, so that everything is read after the lock.
CREATE FUNCTION ledger.balance_at(
    p_account bigint, p_at timestamptz,
    OUT posted bigint, OUT pending_debit bigint, OUT pending_credit bigint, OUT version bigint
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE ledger.archived_month IN ACCESS SHARE MODE;
    IF p_at < ledger.archived_until() THEN
        RAISE EXCEPTION 'archived: restore % to read it', to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM') USING ERRCODE = 'HF010';
    END IF;
    SELECT p.posted_after, p.pending_debit_after, p.pending_credit_after, p.version
    INTO posted, pending_debit, pending_credit, version
    FROM ledger.posting p WHERE p.account_id = p_account AND p.posted_at <= p_at
    ORDER BY p.posted_at DESC, p.version DESC LIMIT 1;
    IF NOT FOUND THEN
        SELECT o.posted, o.pending_debit, o.pending_credit, o.version
        INTO posted, pending_debit, pending_credit, version
        FROM ledger.opening_balance o
        WHERE o.account_id = p_account AND ledger.first_instant(o.month) < ledger.archived_until()
        ORDER BY o.month DESC LIMIT 1;
    END IF;
    posted := coalesce(posted, 0);
    pending_debit := coalesce(pending_debit, 0);
    pending_credit := coalesce(pending_credit, 0);
    version := coalesce(version, 0);
END
$$;

CREATE FUNCTION ledger.attached_months() RETURNS SETOF date LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_date(right(c.relname, 6), 'YYYYMM')
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ledger.entry'::regclass
$$;

CREATE FUNCTION ledger.part_of(p_parent text, p_month date) RETURNS text LANGUAGE sql IMMUTABLE
RETURN p_parent || to_char(p_month, '_YYYYMM');

-- Refuse a month that may not go out. A day after its end nothing that took its time within the month is still on its way.
CREATE FUNCTION ledger.insist_on_archivable(p_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    earlier date := (SELECT min(attached) FROM ledger.attached_months() AS attached WHERE attached < p_month);
BEGIN
    IF p_month NOT IN (SELECT ledger.attached_months()) THEN
        RAISE EXCEPTION '%: the journal has no such month', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF011';
    ELSIF clock_timestamp() < ledger.first_instant(ledger.next_month(p_month)) + interval '1 day' THEN
        RAISE EXCEPTION '% is not over for a day yet', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF011';
    ELSIF earlier IS NOT NULL THEN
        RAISE EXCEPTION 'months go oldest first: % comes before %', to_char(earlier, 'YYYY-MM'), to_char(p_month, 'YYYY-MM')
            USING ERRCODE = 'HF011';
    ELSIF NOT ledger.is_sealed(p_month) THEN
        RAISE EXCEPTION '%: not all of its rows are under a seal', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF011';
    END IF;
END
$$;

-- Refuse a month whose rows are not those that were sealed.
CREATE FUNCTION ledger.insist_on_sealed_content(p_month date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM ledger.month_digests(p_month) AS found
        FULL JOIN (
            SELECT seal_id, rows, digest FROM ledger.seal_part WHERE month = p_month
        ) AS sealed USING (seal_id)
        WHERE (found.rows, found.digest) IS DISTINCT FROM (sealed.rows, sealed.digest)
    ) THEN
        RAISE EXCEPTION '%: its rows are not those that were sealed', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF012';
    END IF;
END
$$;

-- Refuse where a month's tables do not have as many rows as its archive. Keeps writers of that month out, and nobody else.
CREATE FUNCTION ledger.insist_on_counts(p_month date, p_entries bigint, p_postings bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entries  bigint;
    postings bigint;
BEGIN
    EXECUTE format('LOCK TABLE ledger.%I, ledger.%I IN SHARE MODE',
        ledger.part_of('entry', p_month), ledger.part_of('posting', p_month));
    EXECUTE format('SELECT count(*) FROM ledger.%I', ledger.part_of('entry', p_month)) INTO entries;
    EXECUTE format('SELECT count(*) FROM ledger.%I', ledger.part_of('posting', p_month)) INTO postings;
    IF (entries, postings) <> (p_entries, p_postings) THEN
        RAISE EXCEPTION '%: % entries with % postings, but its archive has % with %', to_char(p_month, 'YYYY-MM'),
            entries, postings, p_entries, p_postings USING ERRCODE = 'HF012';
    END IF;
END
$$;

-- Keep the state of each account that the month changed: what stood before it, and the month's sum. It must be what the
-- account's last posting says.
CREATE FUNCTION ledger.keep_opening_balances(p_month date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken bigint;
BEGIN
    EXECUTE format($q$
        INSERT INTO ledger.opening_balance (account_id, month, posted, pending_debit, pending_credit, version)
        SELECT m.account_id, $1, coalesce(o.posted, 0) + m.posted, coalesce(o.pending_debit, 0) + m.debit,
               coalesce(o.pending_credit, 0) + m.credit, coalesce(o.version, 0) + m.entries
        FROM (
            SELECT account_id, sum(posted) AS posted, sum(pending_debit) AS debit, sum(pending_credit) AS credit,
                   count(*) AS entries
            FROM ledger.%I GROUP BY account_id
        ) AS m LEFT JOIN ledger.opening_balance_now o USING (account_id)
    $q$, ledger.part_of('posting', p_month)) USING p_month;
    EXECUTE format($q$
        SELECT account_id
        FROM ledger.opening_balance o JOIN ledger.%I p USING (account_id, version)
        RIGHT JOIN (SELECT account_id FROM ledger.opening_balance WHERE month = $1) AS kept USING (account_id)
        GROUP BY account_id
        HAVING NOT coalesce(bool_or(o.month = $1 AND (o.posted, o.pending_debit, o.pending_credit)
            = (p.posted_after, p.pending_debit_after, p.pending_credit_after)), false)
        LIMIT 1
    $q$, ledger.part_of('posting', p_month)) INTO broken USING p_month;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION '%: the running balance of account % breaks', to_char(p_month, 'YYYY-MM'), broken
            USING ERRCODE = 'HF012';
    END IF;
END
$$;

-- Keep the holds that the month changed and that go on, and those that were kept before and end in it.
CREATE FUNCTION ledger.keep_opening_holds(p_month date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format($q$
        WITH moved AS (
            SELECT e.hold AS reference, sum(p.pending_debit) AS pending
            FROM ledger.%1$I e JOIN ledger.%2$I p USING (entry_id, posted_at)
            WHERE e.hold IS NOT NULL GROUP BY e.hold
        )
        INSERT INTO ledger.opening_hold
            (reference, month, currency, debit_account, credit_account, payment, amount, expires_at, remaining)
        SELECT reference, $1, h.currency, h.debit_account, h.credit_account, h.payment, h.amount, h.expires_at,
               coalesce(o.remaining, 0) + moved.pending
        FROM moved JOIN ledger.hold h USING (reference) LEFT JOIN ledger.opening_hold_now o USING (reference)
        WHERE o.reference IS NOT NULL OR moved.pending <> 0
    $q$, ledger.part_of('entry', p_month), ledger.part_of('posting', p_month)) USING p_month;
END
$$;

CREATE FUNCTION ledger.keep_opening_refundables(p_month date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format($q$
        INSERT INTO ledger.opening_refundable (payment, currency, month, captured, refunded, disputed)
        SELECT payment, currency, $1, coalesce(o.captured, 0) + m.captured, coalesce(o.refunded, 0) + m.refunded,
               coalesce(o.disputed, 0) + m.disputed
        FROM (
            SELECT payment, currency, sum(captured) AS captured, sum(refunded) AS refunded, sum(disputed) AS disputed
            FROM ledger.%I WHERE payment IS NOT NULL GROUP BY payment, currency
        ) AS m LEFT JOIN ledger.opening_refundable_now o USING (payment, currency)
    $q$, ledger.part_of('entry', p_month)) USING p_month;
END
$$;

-- Digest the opening rows of a month; the event of its archiving keeps it, and a seal keeps the event. The digests of
-- rows are gathered in 256 heaps, so that no string grows beyond what Postgres can hold.
CREATE FUNCTION ledger.opening_digest(p_month date) RETURNS bytea LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    WITH leaf AS MATERIALIZED (
        SELECT sha256(convert_to(row, 'UTF8')) AS digest FROM (
            SELECT concat_ws('|', 'balance', account_id, posted, pending_debit, pending_credit, version) AS row
            FROM ledger.opening_balance WHERE month = p_month
            UNION ALL
            SELECT concat_ws('|', 'hold', reference, currency, debit_account, credit_account, coalesce(payment, '-'),
                             amount, expires_at, remaining)
            FROM ledger.opening_hold WHERE month = p_month
            UNION ALL
            SELECT concat_ws('|', 'refundable', payment, currency, captured, refunded, disputed)
            FROM ledger.opening_refundable WHERE month = p_month
        ) AS rows
    )
    SELECT sha256(coalesce(string_agg(digest, NULL ORDER BY heap), ''))
    FROM (
        SELECT get_byte(digest, 0) AS heap, sha256(string_agg(digest, NULL ORDER BY digest)) AS digest
        FROM leaf GROUP BY 1
    ) AS heaps
$$;

CREATE FUNCTION ledger.tell_of_month(p_month date, p_actor text, p_action text, p_detail jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO ledger.event (actor, action, subject, before, detail)
    SELECT p_actor, p_action, to_char(p_month, 'YYYY-MM'),
           coalesce((SELECT jsonb_build_object('state', state) FROM ledger.archived_month WHERE month = p_month), '{}'),
           p_detail
$$;

-- Keep that the files of a month are written and read back, and the state at its end. Returns whether that was new.
CREATE FUNCTION ledger.record_archive(p_month date, p_actor text, p_manifest_digest bytea, p_entries bigint, p_postings bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known ledger.archived_month;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.archive'));
    SELECT * INTO known FROM ledger.archived_month WHERE month = p_month;
    IF known.manifest_digest <> p_manifest_digest THEN
        RAISE EXCEPTION '%: the manifest is not the one that was recorded', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF012';
    ELSIF known.month IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM ledger.insist_on_archivable(p_month);
    PERFORM ledger.insist_on_counts(p_month, p_entries, p_postings);
    PERFORM ledger.insist_on_sealed_content(p_month);
    PERFORM ledger.keep_opening_balances(p_month);
    PERFORM ledger.keep_opening_holds(p_month);
    PERFORM ledger.keep_opening_refundables(p_month);
    PERFORM ledger.tell_of_month(p_month, p_actor, 'month.archived', jsonb_build_object(
        'manifest', encode(p_manifest_digest, 'hex'), 'entries', p_entries, 'postings', p_postings,
        'opening', encode(ledger.opening_digest(p_month), 'hex')));
    INSERT INTO ledger.archived_month (month, state, manifest_digest, entries, postings, archived_by)
    VALUES (p_month, 'archived', p_manifest_digest, p_entries, p_postings, p_actor);
    RETURN true;
END
$$;

-- Take a recorded month out of the journal; its tables stay beside it, with their guards. DETACH takes the parents'
-- strongest lock for a moment: it waits for whoever reads, and posting waits behind it. Hence the short patience; whoever
-- calls tries again. CONCURRENTLY would let posting through, but cannot run in a transaction, and so not together with
-- the record of it.
CREATE FUNCTION ledger.detach_month(p_month date, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    known  ledger.archived_month;
    parent text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.archive'));
    SELECT * INTO STRICT known FROM ledger.archived_month WHERE month = p_month;
    IF known.state IN ('detached', 'dropped') THEN
        RETURN false;
    END IF;
    PERFORM ledger.insist_on_archivable(p_month);
    PERFORM ledger.insist_on_counts(p_month, known.entries, known.postings);
    PERFORM ledger.tell_of_month(p_month, p_actor, 'month.detached', '{}');
    LOCK TABLE ledger.archived_month IN ACCESS EXCLUSIVE MODE;
    UPDATE ledger.archived_month SET state = 'detached', changed_at = clock_timestamp() WHERE month = p_month;
    FOREACH parent IN ARRAY ARRAY['entry', 'posting'] LOOP
        EXECUTE format('ALTER TABLE ledger.%I DETACH PARTITION ledger.%I', parent, ledger.part_of(parent, p_month));
    END LOOP;
    RETURN true;
END
$$;

-- Drop a detached month's tables: one person asks, a second one agrees. For thirty days it can be put back without its
-- files, long enough for the next month's closing to find what is missing.
CREATE FUNCTION ledger.drop_archived(p_month date, p_actor text, p_second_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    known  ledger.archived_month;
    parent text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.archive'));
    SELECT * INTO known FROM ledger.archived_month WHERE month = p_month;
    IF known.state = 'dropped' THEN
        RETURN false;
    ELSIF known.state IS DISTINCT FROM 'detached' THEN
        RAISE EXCEPTION '% is not detached', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF011';
    ELSIF '' IN (trim(p_actor), trim(p_second_actor)) OR lower(trim(p_actor)) = lower(trim(p_second_actor)) THEN
        RAISE EXCEPTION 'two persons drop a month, not %', p_actor USING ERRCODE = 'HF011';
    ELSIF clock_timestamp() < known.changed_at + interval '30 days' THEN
        RAISE EXCEPTION '% was detached on %, and stays for thirty days', to_char(p_month, 'YYYY-MM'), known.changed_at::date
            USING ERRCODE = 'HF011';
    END IF;
    PERFORM ledger.tell_of_month(p_month, p_actor, 'month.dropped', jsonb_build_object('second_actor', p_second_actor));
    UPDATE ledger.archived_month SET state = 'dropped', changed_at = clock_timestamp() WHERE month = p_month;
    FOREACH parent IN ARRAY ARRAY['entry', 'posting'] LOOP
        EXECUTE format('DROP TABLE ledger.%I', ledger.part_of(parent, p_month));
    END LOOP;
    RETURN true;
END
$$;

-- Refuse to put a month back before those that follow it.
CREATE FUNCTION ledger.insist_on_restorable(p_month date) RETURNS ledger.archived_month
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known ledger.archived_month;
    later date := (SELECT max(month) FROM ledger.archived_month WHERE state IN ('detached', 'dropped') AND month > p_month);
BEGIN
    SELECT * INTO known FROM ledger.archived_month WHERE month = p_month;
    IF known.month IS NULL THEN
        RAISE EXCEPTION '% has not been archived', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF011';
    ELSIF later IS NOT NULL THEN
        RAISE EXCEPTION 'months come back newest first: % comes before %', to_char(later, 'YYYY-MM'), to_char(p_month, 'YYYY-MM')
            USING ERRCODE = 'HF011';
    END IF;
    RETURN known;
END
$$;

-- Make empty tables for a dropped month, which the archivist fills. What an earlier try left there goes.
CREATE FUNCTION ledger.make_month_again(p_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known  ledger.archived_month;
    parent text;
    part   text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.archive'));
    known := ledger.insist_on_restorable(p_month);
    IF known.state <> 'dropped' THEN
        RAISE EXCEPTION '%: its tables are still there', to_char(p_month, 'YYYY-MM') USING ERRCODE = 'HF011';
    END IF;
    FOREACH parent IN ARRAY ARRAY['entry', 'posting'] LOOP
        part := ledger.part_of(parent, p_month);
        EXECUTE format('DROP TABLE IF EXISTS ledger.%I', part);
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.%I INCLUDING ALL)', part, parent);
        EXECUTE format('GRANT INSERT ON ledger.%I TO ledger_archivist', part);
        PERFORM ledger.guard(part);
    END LOOP;
END
$$;

-- Take the lock that nobody has who reads journal and opening state together. Asked again and again, not waited for:
-- readers that come meanwhile would wait behind it. Ten minutes are longer than a verify that is not stuck.
CREATE FUNCTION ledger.wait_for_readers() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    until constant timestamptz := clock_timestamp() + interval '10 minutes';
BEGIN
    LOOP
        BEGIN
            LOCK TABLE ledger.archived_month IN ACCESS EXCLUSIVE MODE NOWAIT;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > until THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.2);
        END;
    END LOOP;
END
$$;

-- Put a month back into the journal, if its rows are those that were sealed. Attaching reads the month, and neither
-- posting nor reading waits for that. Making months would wait, and posting behind it: so that is kept away first.
CREATE FUNCTION ledger.attach_month(p_month date, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known  ledger.archived_month;
    parent text;
    part   text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.archive'));
    known := ledger.insist_on_restorable(p_month);
    IF known.state NOT IN ('detached', 'dropped') THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ledger.ensure_months'));
    PERFORM ledger.insist_on_counts(p_month, known.entries, known.postings);
    FOREACH parent IN ARRAY ARRAY['entry', 'posting'] LOOP
        part := ledger.part_of(parent, p_month);
        EXECUTE format('REVOKE INSERT ON ledger.%I FROM ledger_archivist', part);
        EXECUTE format('ALTER TABLE ledger.%I ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)', parent, part,
            ledger.first_instant(p_month), ledger.first_instant(ledger.next_month(p_month)));
    END LOOP;
    PERFORM ledger.insist_on_sealed_content(p_month);
    PERFORM ledger.tell_of_month(p_month, p_actor, 'month.restored', '{}');
    PERFORM ledger.wait_for_readers();
    UPDATE ledger.archived_month SET state = 'restored', changed_at = clock_timestamp() WHERE month = p_month;
    RETURN true;
END
$$;

-- What of the archive's own records is wrong, in the form of ledger.verify(): the opening state and the manifest's digest
-- are those of the (sealed) event, and a month is where its state says.
CREATE FUNCTION ledger.verify_archive() RETURNS TABLE (broken text, subject text, detail text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    (SELECT 'an archived month is not as its event says', to_char(m.month, 'YYYY-MM'), e.detail ->> 'manifest'
     FROM ledger.archived_month m
     LEFT JOIN ledger.event e ON e.action = 'month.archived' AND e.subject = to_char(m.month, 'YYYY-MM')
     WHERE jsonb_build_object(
         'manifest', encode(m.manifest_digest, 'hex'), 'entries', m.entries, 'postings', m.postings,
         'opening', encode(ledger.opening_digest(m.month), 'hex')) IS DISTINCT FROM e.detail
     ORDER BY m.month LIMIT 1)
    UNION ALL
    (SELECT 'a month was archived, and there is no record of it', e.subject, e.actor
     FROM ledger.event e
     WHERE e.action = 'month.archived'
       AND e.subject NOT IN (SELECT to_char(month, 'YYYY-MM') FROM ledger.archived_month)
     ORDER BY e.subject LIMIT 1)
    UNION ALL
    (SELECT 'an archived month is not where its state says', to_char(month, 'YYYY-MM'), state
     FROM ledger.archived_month
     WHERE (state IN ('archived', 'restored')) <> (month IN (SELECT ledger.attached_months()))
     ORDER BY month LIMIT 1)
    UNION ALL
    (SELECT 'a month is missing from the journal', to_char(month, 'YYYY-MM'), 'neither attached nor archived'
     FROM (
         SELECT month::date FROM generate_series(
             (SELECT min(month) FROM (
                 SELECT month FROM ledger.archived_month UNION ALL SELECT ledger.attached_months()) AS known)::timestamp,
             (SELECT max(month) FROM ledger.attached_months() AS month)::timestamp, interval '1 month') AS month
     ) AS wanted
     WHERE month NOT IN (SELECT ledger.attached_months()) AND month NOT IN (SELECT month FROM ledger.archived_month)
     ORDER BY month LIMIT 1)
$$;

GRANT EXECUTE ON FUNCTION
    ledger.archived_until, ledger.archived_entries, ledger.balance_at, ledger.attached_months, ledger.first_instant,
    ledger.next_month, ledger.opening_digest, ledger.verify_archive
TO ledger_reader;
GRANT EXECUTE ON FUNCTION
    ledger.insist_on_archivable, ledger.record_archive, ledger.detach_month, ledger.drop_archived, ledger.make_month_again,
    ledger.attach_month
TO ledger_archivist;
