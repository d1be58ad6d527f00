-- pgbench: pipeline.sql without the row of the audit event.
\set debit random(:first, :last)
\set credit random(5001, 10000)
\set amount random(1, 5000)
\startpipeline
BEGIN;
INSERT INTO base.key (reference, fingerprint) VALUES ('cap_' || uuidv7() || '.c1/post', sha256(''));
UPDATE base.balance SET posted = posted + :amount, version = version + 1 WHERE account_id = :debit;
UPDATE base.balance SET posted = posted - :amount, version = version + 1 WHERE account_id = :credit;
INSERT INTO base.entry (entry_id, operation, kind) VALUES (currval('base.entry_id'), 'cap_01jqexampleexampleexampl', 'capture');
INSERT INTO base.posting (entry_id, account_id, amount, balance_after, version) VALUES (currval('base.entry_id'), :debit, :amount, 1, 1), (currval('base.entry_id'), :credit, 0 - :amount::bigint, 1, 1);
COMMIT;
\endpipeline
