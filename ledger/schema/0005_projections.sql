-- What is derived from the journal, and can be rebuilt from it: holds, and what is refundable (balances: 0002).
SET LOCAL ROLE ledger_owner;

-- Also has a row where something was released that had never been held: then a hold that comes late is refused.
CREATE TABLE ledger.hold (
    reference      text        PRIMARY KEY COLLATE "C",
    currency       text        COLLATE "C",
    debit_account  bigint,
    credit_account bigint,
    payment        text        COLLATE "C",  -- whose refundable amount it reserves
    amount         bigint      NOT NULL CHECK (amount >= 0),
    expires_at     timestamptz NOT NULL DEFAULT 'infinity',
    remaining      bigint      NOT NULL CHECK (remaining BETWEEN 0 AND amount),
    state          text        NOT NULL CHECK (state IN ('open', 'captured', 'voided', 'expired')),
    CHECK (state = 'open' OR remaining = 0),
    CHECK (amount = 0 OR (currency, debit_account, credit_account) IS NOT NULL)
) WITH (fillfactor = 70);

-- What of a payment can be refunded is captured - refunded - reserved - disputed (money rule 10), in each currency.
CREATE TABLE ledger.refundable (
    payment  text   NOT NULL COLLATE "C",
    currency text   NOT NULL COLLATE "C" REFERENCES ledger.currency,
    captured bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    refunded bigint NOT NULL DEFAULT 0,
    disputed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (payment, currency)
) WITH (fillfactor = 70);
