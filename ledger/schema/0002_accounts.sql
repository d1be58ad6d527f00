-- Accounts and their balances. An account is a code and a currency, for ever.
SET LOCAL ROLE ledger_owner;

-- No exponent is ever assumed: an amount in a currency that is not here cannot be posted.
CREATE TABLE ledger.currency (
    code     text     PRIMARY KEY COLLATE "C" CHECK (code ~ '^[A-Z]{3}$'),
    exponent smallint NOT NULL CHECK (exponent BETWEEN 0 AND 4)
);

-- The first 63 bits of SHA-256 of the name. A number out of a sequence could mean another account after a restore to an
-- earlier time, while a worker remembers the old one; a number made of the name cannot. ledger/accounts.py makes it too.
CREATE FUNCTION ledger.account_number(p_code text, p_currency text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (('x' || left(encode(sha256(convert_to(p_code || '|' || p_currency, 'UTF8')), 'hex'), 16))::bit(64)::bigint >> 1)
        & 9223372036854775807  -- the shift brings the sign along; this takes it off
$$;

CREATE TABLE ledger.account (
    id        bigint      PRIMARY KEY,
    code      text        NOT NULL COLLATE "C" CHECK (code ~ '^[a-z][a-z0-9_:]{2,127}$'),
    currency  text        NOT NULL COLLATE "C" REFERENCES ledger.currency,
    normal    smallint    NOT NULL CHECK (normal IN (1, -1)),  -- the side that it grows on; for display only
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (code, currency),
    UNIQUE (id, currency),
    CONSTRAINT number_of_its_name CHECK (id = ledger.account_number(code, currency))
);

-- No bound stands here: facts may take a merchant below zero (money rule 3). What backs a gate's bound is a CHECK on
-- the gate's own entry.
CREATE TABLE ledger.balance (
    account_id     bigint      PRIMARY KEY,
    currency       text        NOT NULL COLLATE "C",
    posted         bigint      NOT NULL DEFAULT 0,
    pending_debit  bigint      NOT NULL DEFAULT 0 CHECK (pending_debit >= 0),
    pending_credit bigint      NOT NULL DEFAULT 0 CHECK (pending_credit >= 0),
    version        bigint      NOT NULL DEFAULT 0,
    last_at        timestamptz NOT NULL DEFAULT '-infinity',
    closed         boolean     NOT NULL DEFAULT false,
    FOREIGN KEY (account_id, currency) REFERENCES ledger.account (id, currency)
) WITH (
    fillfactor = 50,  -- half empty pages, so that nearly every update stays on its page
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0  -- the table is small, and each of its rows is updated all day
);

GRANT EXECUTE ON FUNCTION ledger.account_number TO ledger_reader;
