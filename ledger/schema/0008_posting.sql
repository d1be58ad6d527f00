-- What the two posting functions share: what they are asked, what they answer, and how they refuse.
--
-- Locks are taken in one global order: reference, hold, accounts by number, refundable; several of a kind in the order of
-- their names. Whoever keeps to it cannot deadlock. What depends on a lock is read through the lock or in a later
-- statement, which sees a fresh snapshot under READ COMMITTED only.
SET LOCAL ROLE ledger_owner;

CREATE TYPE ledger.item AS (
    reference     text,
    fingerprint   bytea,
    operation     text,
    kind          text,
    nature        text,       -- 'gate': may be refused, finally; 'fact': has happened, and is booked whatever stands against it
    actor         text,
    why           text,
    effective_at  timestamptz,
    reverses      text,
    currency      text,       -- of the hold and of what changes of the payment
    accounts      bigint[],   -- all that the item names, each once; those that only a hold stands at with an amount of 0
    amounts       bigint[],   -- of the posted layer
    hold          text,
    hold_action   text,       -- 'open'; 'use': draw hold_amount; 'release': all that is left, done also where nothing is held
    hold_amount   bigint,
    hold_final    boolean,    -- using it, give the rest up
    hold_seconds  double precision,  -- how long a hold that is opened stands; null: until it is released
    hold_debit    bigint,     -- the accounts of the pending lines of a hold that is opened
    hold_credit   bigint,
    bounded       bigint,     -- the account that a gate may not overdraw
    payment       text,       -- whose refundable row changes, and by what; a gate's hold reserves of it
    captured      bigint,
    refunded      bigint,
    disputed      bigint
);

CREATE TYPE ledger.answer AS (
    status    text,    -- ledger/journal.py lists them
    entry_id  bigint,
    first     text,    -- of a refusal that is answered again: its first status
    hold_left bigint   -- what the hold had left before this entry
);

-- Why a gate may not draw on a hold; null: it may. A fact draws what there is.
CREATE FUNCTION ledger.refusal_of_hold(held ledger.hold, p_amount bigint, p_currency text) RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT CASE
        WHEN held.state IS DISTINCT FROM 'open' OR held.expires_at <= clock_timestamp() THEN 'hold_not_open'
        WHEN held.currency <> p_currency THEN 'currency_differs'
        WHEN held.remaining < p_amount THEN 'hold_exceeded'
    END
$$;

-- By how much an item draws a hold down: nothing where it is not open, or is in another currency.
CREATE FUNCTION ledger.drawn(held ledger.hold, p_action text, p_amount bigint, p_final boolean, p_currency text)
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN held.state IS DISTINCT FROM 'open' THEN 0
        WHEN p_action = 'release' THEN held.remaining
        WHEN held.currency <> p_currency THEN 0
        WHEN p_final THEN held.remaining
        ELSE least(held.remaining, p_amount)
    END
$$;

-- What becomes of a hold that is drawn down to `p_remaining`.
CREATE FUNCTION ledger.state_after(held ledger.hold, p_action text, p_remaining bigint, p_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN held.state <> 'open' OR p_remaining > 0 THEN held.state
        WHEN p_action = 'use' THEN 'captured'
        WHEN held.expires_at <= p_at THEN 'expired'
        ELSE 'voided'
    END
$$;

-- The accounts that an item touches: those that it names, and those that its hold stands at.
CREATE FUNCTION ledger.touched(p_accounts bigint[], held ledger.hold) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    touched bigint[] := p_accounts;
BEGIN
    IF held.debit_account IS NULL THEN
        RETURN touched;  -- nothing was held
    END IF;
    IF held.debit_account <> ALL (p_accounts) THEN
        touched := touched || held.debit_account;
    END IF;
    IF held.credit_account <> ALL (p_accounts) THEN
        touched := touched || held.credit_account;
    END IF;
    RETURN touched;
END
$$;
