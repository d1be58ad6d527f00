-- The journal. An entry is one balanced fact, a posting what it does to one account. Nothing here is ever changed.
SET LOCAL ROLE ledger_owner;

CREATE SEQUENCE ledger.entry_id CACHE 64;

-- Not partitioned: a reference is unique for ever.
CREATE TABLE ledger.entry_key (
    reference   text   PRIMARY KEY COLLATE "C" CHECK (length(reference) BETWEEN 8 AND 128),
    fingerprint bytea  NOT NULL CHECK (length(fingerprint) = 32),
    entry_id    bigint NOT NULL DEFAULT nextval('ledger.entry_id')
);

-- An entry is its own audit event: who, when, why, and (in its postings) what was before.
CREATE TABLE ledger.entry (
    entry_id         bigint      NOT NULL,
    posted_at        timestamptz NOT NULL,
    effective_at     timestamptz NOT NULL,
    reference        text        NOT NULL COLLATE "C",
    operation        text        NOT NULL COLLATE "C",
    kind             text        NOT NULL COLLATE "C",
    nature           text        NOT NULL COLLATE "C" CHECK (nature IN ('gate', 'fact')),
    actor            text        NOT NULL,
    why              text        NOT NULL,
    reverses         text        COLLATE "C",  -- the reference of the entry that this one takes back
    currency         text        COLLATE "C",  -- of the hold, and of what it changed of the payment
    hold             text        COLLATE "C",
    hold_amount      bigint,       -- held, or asked of a hold
    hold_expires_at  timestamptz,  -- of a hold that it opened
    bounded_account  bigint,       -- what a gate could not overdraw, and what was available there under the lock
    available_before bigint,
    payment          text        COLLATE "C",  -- whose refundable row it changed, and by what
    captured         bigint      NOT NULL,
    refunded         bigint      NOT NULL,
    disputed         bigint      NOT NULL,
    xid              xid8        NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (entry_id, posted_at),
    CONSTRAINT within_bound CHECK (bounded_account IS NULL OR (nature = 'gate' AND hold_amount <= available_before))
) PARTITION BY RANGE (posted_at);
CREATE INDEX entry_operation ON ledger.entry (operation);
CREATE INDEX entry_xid ON ledger.entry (xid);

-- One row per entry and account, with the account's three balances after it: any past balance is one index probe.
-- Debit is positive in `posted`; the pending columns grow when something is held.
CREATE TABLE ledger.posting (
    entry_id             bigint      NOT NULL,
    account_id           bigint      NOT NULL,
    currency             text        NOT NULL COLLATE "C",
    posted               bigint      NOT NULL,
    pending_debit        bigint      NOT NULL,
    pending_credit       bigint      NOT NULL,
    posted_after         bigint      NOT NULL,
    pending_debit_after  bigint      NOT NULL,
    pending_credit_after bigint      NOT NULL,
    version              bigint      NOT NULL,
    posted_at            timestamptz NOT NULL,
    PRIMARY KEY (entry_id, account_id, posted_at)
) PARTITION BY RANGE (posted_at);
CREATE UNIQUE INDEX posting_account ON ledger.posting (account_id, posted_at, version);

-- A gate's refusal. It is final for its reference: a retry can never turn it into an entry.
CREATE TABLE ledger.rejection (
    entry_id  bigint      PRIMARY KEY,
    reference text        NOT NULL COLLATE "C",
    operation text        NOT NULL COLLATE "C",
    kind      text        NOT NULL COLLATE "C",
    actor     text        NOT NULL,
    status    text        NOT NULL COLLATE "C",
    amount    bigint      NOT NULL,
    currency  text        NOT NULL COLLATE "C",
    at        timestamptz NOT NULL,
    xid       xid8        NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX rejection_operation ON ledger.rejection (operation);
CREATE INDEX rejection_xid ON ledger.rejection (xid);

-- Who did what, when and why, of all that is neither an entry nor a rejection: conflicts, accounts opened and closed,
-- months taken out and put back.
CREATE TABLE ledger.event (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text        NOT NULL,
    action  text        NOT NULL COLLATE "C",
    subject text        NOT NULL COLLATE "C",
    why     text        NOT NULL DEFAULT '',
    before  jsonb       NOT NULL DEFAULT '{}',
    detail  jsonb       NOT NULL DEFAULT '{}',
    xid     xid8        NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX event_xid ON ledger.event (xid);
