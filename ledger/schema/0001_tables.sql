-- The journal and what is derived from it.
--
-- An entry is one balanced fact, a posting one line of it (debit +, credit -). Entries, postings and events are only ever
-- added. Three tables are projections that can be rebuilt from them: balance, hold_state and refundable.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['ledger_owner', 'ledger_poster', 'ledger_reader'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles are the cluster's: another database's migration was quicker
        END;
    END LOOP;
END
$$;

CREATE SCHEMA ledger AUTHORIZATION ledger_owner;
SET LOCAL ROLE ledger_owner;

-- No exponent is ever assumed: an amount in a currency that is not here cannot be posted.
CREATE TABLE ledger.currency (
    code     text     PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'),
    exponent smallint NOT NULL CHECK (exponent BETWEEN 0 AND 4)
);

CREATE TABLE ledger.account (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code      text        NOT NULL COLLATE "C" CHECK (code ~ '^[a-z][a-z0-9_:]{2,127}$'),
    currency  text        NOT NULL REFERENCES ledger.currency,
    normal    smallint    NOT NULL CHECK (normal IN (1, -1)),  -- the side that it grows on; for display only
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (code, currency),
    UNIQUE (id, currency)
);

-- No bound stands here: facts may take a merchant below zero (money rule 3). The bound of a gate backs ledger.gate.
CREATE TABLE ledger.balance (
    account_id     bigint      PRIMARY KEY,
    currency       text        NOT NULL,
    posted         bigint      NOT NULL DEFAULT 0,
    pending_debit  bigint      NOT NULL DEFAULT 0 CHECK (pending_debit >= 0),
    pending_credit bigint      NOT NULL DEFAULT 0 CHECK (pending_credit >= 0),
    version        bigint      NOT NULL DEFAULT 0,
    last_at        timestamptz NOT NULL DEFAULT '-infinity',
    closed         boolean     NOT NULL DEFAULT false,
    FOREIGN KEY (account_id, currency) REFERENCES ledger.account (id, currency)
) WITH (fillfactor = 50);  -- half empty pages, so that nearly every update stays on its page

CREATE SEQUENCE ledger.entry_id CACHE 64;

-- Not partitioned: a reference is unique for ever.
CREATE TABLE ledger.entry_key (
    reference   text        PRIMARY KEY COLLATE "C" CHECK (length(reference) BETWEEN 8 AND 128),
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32),
    entry_id    bigint      NOT NULL DEFAULT nextval('ledger.entry_id'),
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A refusal is final for its reference: a retry can never turn it into a posting.
CREATE TABLE ledger.rejection (
    entry_id bigint      PRIMARY KEY,
    status   text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE ledger.entry (
    entry_id     bigint      NOT NULL,
    posted_at    timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    reference    text        NOT NULL COLLATE "C",
    operation    text        NOT NULL COLLATE "C",
    kind         text        NOT NULL,
    nature       text        NOT NULL CHECK (nature IN ('gate', 'fact')),
    hold         text        COLLATE "C",
    reverses     text        COLLATE "C",
    payment      text        COLLATE "C",  -- whose refundable row it changed, and by what
    captured     bigint      NOT NULL DEFAULT 0,
    refunded     bigint      NOT NULL DEFAULT 0,
    disputed     bigint      NOT NULL DEFAULT 0,
    actor        text        NOT NULL,
    xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    CHECK (payment IS NOT NULL OR (captured, refunded, disputed) = (0, 0, 0)),
    PRIMARY KEY (entry_id, posted_at)
) PARTITION BY RANGE (posted_at);
CREATE INDEX entry_operation ON ledger.entry (operation);
CREATE INDEX entry_xid ON ledger.entry (xid);

-- layer 0: posted; 1: pending debit; 2: pending credit. The running balance is that of the layer after this line.
CREATE TABLE ledger.posting (
    entry_id        bigint      NOT NULL,
    line            smallint    NOT NULL,
    layer           smallint    NOT NULL CHECK (layer IN (0, 1, 2)),
    account_id      bigint      NOT NULL,
    currency        text        NOT NULL,
    amount          bigint      NOT NULL CHECK (amount <> 0),
    balance_after   bigint      NOT NULL,
    account_version bigint      NOT NULL,
    posted_at       timestamptz NOT NULL,
    PRIMARY KEY (entry_id, line, posted_at),
    FOREIGN KEY (account_id, currency) REFERENCES ledger.account (id, currency)
) PARTITION BY RANGE (posted_at);
CREATE UNIQUE INDEX posting_account
    ON ledger.posting (account_id, layer, posted_at, account_version) INCLUDE (balance_after);

-- A gate that was let through a bound, with what was available under the lock: the database's own proof.
CREATE TABLE ledger.gate (
    entry_id         bigint PRIMARY KEY,
    account_id       bigint NOT NULL REFERENCES ledger.account,
    amount           bigint NOT NULL CHECK (amount > 0),
    available_before bigint NOT NULL,
    CONSTRAINT within_bound CHECK (amount <= available_before)
);

CREATE TABLE ledger.hold (
    reference      text        PRIMARY KEY COLLATE "C",
    entry_id       bigint      NOT NULL,
    currency       text        NOT NULL REFERENCES ledger.currency,
    amount         bigint      NOT NULL CHECK (amount > 0),
    debit_account  bigint      NOT NULL REFERENCES ledger.account,
    credit_account bigint      NOT NULL REFERENCES ledger.account,
    payment        text        COLLATE "C",  -- whose refundable amount it reserves
    expires_at     timestamptz NOT NULL
);

-- Also has a row where something was released that had never been held: then a hold that comes late is refused.
CREATE TABLE ledger.hold_state (
    reference text   PRIMARY KEY COLLATE "C",
    remaining bigint NOT NULL CHECK (remaining >= 0),
    state     text   NOT NULL CHECK (state IN ('open', 'used', 'released')),
    CHECK (state = 'open' OR remaining = 0)
) WITH (fillfactor = 70);

-- What of a payment can be refunded is captured - refunded - reserved - disputed (money rule 10).
CREATE TABLE ledger.refundable (
    payment  text   PRIMARY KEY COLLATE "C",
    currency text   NOT NULL REFERENCES ledger.currency,
    captured bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    refunded bigint NOT NULL DEFAULT 0,
    disputed bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- Who did what, when and why; also of what was refused.
CREATE TABLE ledger.event (
    id       bigint      GENERATED ALWAYS AS IDENTITY (CACHE 64),
    at       timestamptz NOT NULL,
    actor    text        NOT NULL,
    action   text        NOT NULL,
    subject  text        NOT NULL COLLATE "C",
    entry_id bigint      NOT NULL,
    detail   jsonb       NOT NULL,
    xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE INDEX event_xid ON ledger.event (xid);
