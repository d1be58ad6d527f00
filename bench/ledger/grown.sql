-- Grow a fresh book to :entries two-line entries of 1.00, as if they had been posted since the month began: half of them
-- debit the first account, the others the next 4,999 in turn, and all credit the last 5,000 in turn. Each account is only
-- debited or only credited, so that its version says its balance. Guards are off, as for a restore; verify must hold.
SET session_replication_role = replica;
SET synchronous_commit = off;

CREATE TEMPORARY TABLE account_in_turn AS
SELECT substr(code, 7)::bigint AS number, id FROM ledger.account WHERE code LIKE 'bench:%';
CREATE UNIQUE INDEX ON account_in_turn (number);
ANALYZE account_in_turn;

CREATE TEMPORARY TABLE fact AS
SELECT entry_id,
       'cap_' || lpad(entry_id::text, 26, '0') || '.c1/post' AS reference,
       month + (now() - month) * (entry_id::float8 / :entries) AS posted_at,
       CASE WHEN entry_id % 2 = 0 THEN 1 ELSE 2 + (entry_id / 2) % 4999 END AS debit,
       CASE WHEN entry_id % 2 = 0 THEN entry_id / 2 ELSE entry_id / 2 / 4999 + 1 END AS debit_version,
       5001 + (entry_id - 1) % 5000 AS credit,
       (entry_id - 1) / 5000 + 1 AS credit_version
FROM generate_series(1, :entries::bigint) AS entry_id,
     (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS month) AS this;

INSERT INTO ledger.entry_key (reference, fingerprint, entry_id) SELECT reference, sha256(reference::bytea), entry_id FROM fact;
INSERT INTO ledger.entry
    (entry_id, posted_at, effective_at, reference, operation, kind, nature, actor, why, captured, refunded, disputed)
SELECT entry_id, posted_at, posted_at, reference, split_part(reference, '.', 1), 'capture', 'fact', 'bench', '', 0, 0, 0
FROM fact;
INSERT INTO ledger.posting
    (entry_id, account_id, currency, posted, pending_debit, pending_credit,
     posted_after, pending_debit_after, pending_credit_after, version, posted_at)
SELECT entry_id, id, 'EUR', side * 100, 0, 0, side * 100 * version, 0, 0, version, posted_at
FROM fact
CROSS JOIN LATERAL (VALUES (debit, 1, debit_version), (credit, -1, credit_version)) AS line (number, side, version)
JOIN account_in_turn USING (number);
UPDATE ledger.balance b SET posted = last.posted_after, version = last.version, last_at = last.posted_at
FROM (SELECT DISTINCT ON (account_id) * FROM ledger.posting ORDER BY account_id, posted_at DESC, version DESC) AS last
WHERE b.account_id = last.account_id;
SELECT setval('ledger.entry_id', :entries + 1);

DROP TABLE fact, account_in_turn;
RESET session_replication_role;
RESET synchronous_commit;
VACUUM (ANALYZE, PARALLEL 0);
CHECKPOINT;
