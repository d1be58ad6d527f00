-- The floor's book: the rows that any double-entry journal with idempotency and audit writes for a posting of two lines
-- (key, entry, two postings, event, two balances), with none of our guards, layers, holds, partitions or answers.
CREATE SCHEMA base;
CREATE SEQUENCE base.entry_id CACHE 64;
CREATE TABLE base.key (
    reference   text   PRIMARY KEY COLLATE "C",
    fingerprint bytea  NOT NULL,
    entry_id    bigint NOT NULL DEFAULT nextval('base.entry_id')
);
CREATE TABLE base.entry (
    entry_id  bigint      PRIMARY KEY,
    posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation text        NOT NULL,
    kind      text        NOT NULL
);
CREATE TABLE base.balance (
    account_id bigint PRIMARY KEY,
    posted     bigint NOT NULL DEFAULT 0,
    version    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE base.posting (
    entry_id      bigint      NOT NULL,
    account_id    bigint      NOT NULL,
    amount        bigint      NOT NULL,
    balance_after bigint      NOT NULL,
    version       bigint      NOT NULL,
    posted_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (entry_id, account_id)
);
CREATE INDEX ON base.posting (account_id, posted_at, version);
CREATE TABLE base.event (
    id       bigint      GENERATED ALWAYS AS IDENTITY (CACHE 64) PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor    text        NOT NULL,
    action   text        NOT NULL,
    entry_id bigint      NOT NULL
);
INSERT INTO base.balance (account_id) SELECT generate_series(1, 10000);

-- The least that one round trip can do in a function, with running balances and no question asked.
CREATE FUNCTION base.post(p_reference text, p_debit bigint, p_credit bigint, p_amount bigint) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    this   bigint;
    debit  base.balance;
    credit base.balance;
BEGIN
    INSERT INTO base.key (reference, fingerprint) VALUES (p_reference, sha256('')) RETURNING entry_id INTO this;
    UPDATE base.balance SET posted = posted + p_amount, version = version + 1 WHERE account_id = p_debit
    RETURNING * INTO debit;
    UPDATE base.balance SET posted = posted - p_amount, version = version + 1 WHERE account_id = p_credit
    RETURNING * INTO credit;
    INSERT INTO base.entry (entry_id, operation, kind) VALUES (this, 'cap_01jqexampleexampleexampl', 'capture');
    INSERT INTO base.posting (entry_id, account_id, amount, balance_after, version)
    VALUES (this, p_debit, p_amount, debit.posted, debit.version),
           (this, p_credit, -p_amount, credit.posted, credit.version);
    INSERT INTO base.event (actor, action, entry_id) VALUES ('holdfast', 'entry.posted', this);
    RETURN this;
END
$$;
