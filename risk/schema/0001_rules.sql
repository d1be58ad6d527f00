-- The rules, what they look up, and every decision that they came to. All of it is only ever added to: a set of rules is
-- changed by a new version, a deny list by a further line, a decision never.

CREATE SCHEMA risk;

CREATE FUNCTION risk.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of risk.% refused: what has been written stays', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation';
END
$$;

-- The set in force is the one with the highest version. To go back to an earlier one is to install it again.
CREATE TABLE risk.rule_set (
    version bigint      PRIMARY KEY CHECK (version > 0),
    rules   jsonb       NOT NULL CHECK (jsonb_typeof(rules) = 'array'),  -- read by risk/rules.py, which knows each field
    author  text        NOT NULL CHECK (author <> ''),
    why     text        NOT NULL CHECK (why <> ''),
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row per operation and per clearance: what was judged, and what the rules said. The same operation asked again gets
-- the row that stands here, whatever the rules say by then.
CREATE TABLE risk.decision (
    operation    text        NOT NULL COLLATE "C",
    cleared      boolean     NOT NULL,  -- two people had let it pass before
    kind         text        NOT NULL CHECK (kind IN ('pay', 'inc', 'rfd', 'po')),
    client       text        NOT NULL,
    merchant     text        NOT NULL,
    currency     text        NOT NULL,
    amount       bigint      NOT NULL,
    instrument   text        NOT NULL COLLATE "C",
    country      text        NOT NULL,
    payment      text        COLLATE "C",  -- what a refund gives back, and what an increment raises
    verdict      text        NOT NULL CHECK (verdict IN ('allow', 'review', 'refuse')),
    fired        jsonb       NOT NULL CHECK (jsonb_typeof(fired) = 'array'),
    version      bigint      NOT NULL,  -- of the rule set; 0: none could be read
    milliseconds integer     NOT NULL,  -- how long it took
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (operation, cleared)
);
CREATE INDEX decision_at ON risk.decision (at DESC);
CREATE INDEX decision_of_payment ON risk.decision (payment) WHERE payment IS NOT NULL;
-- What a velocity rule counts: what has passed, or may still. An operation that people cleared later counts once.
CREATE INDEX decision_by_instrument ON risk.decision (instrument, at)
    WHERE NOT cleared AND verdict <> 'refuse' AND instrument <> '';
CREATE INDEX decision_by_merchant ON risk.decision (merchant, at) WHERE NOT cleared AND verdict <> 'refuse';
CREATE INDEX decision_by_country ON risk.decision (country, at)
    WHERE NOT cleared AND verdict <> 'refuse' AND country <> '';
CREATE INDEX decision_by_client ON risk.decision (client, at) WHERE NOT cleared AND verdict <> 'refuse';

-- Who stands on which deny list: the latest line about a value says it.
CREATE TABLE risk.deny_list (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list   text        NOT NULL CHECK (list ~ '^[a-z][a-z0-9-]{1,39}$'),
    value  text        NOT NULL CHECK (value <> '') COLLATE "C",  -- a token of an instrument, a merchant, a country …
    denied boolean     NOT NULL,  -- false: taken off the list again
    author text        NOT NULL CHECK (author <> ''),
    why    text        NOT NULL CHECK (why <> ''),
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX deny_list_value ON risk.deny_list (list, value, id DESC);

-- Scores as they arrive, by event, from whoever makes them. The one that was made last counts, whichever came last.
CREATE TABLE risk.score (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    by        text        NOT NULL CHECK (by IN ('operation', 'instrument', 'merchant', 'country', 'client')),
    key       text        NOT NULL CHECK (key <> '') COLLATE "C",
    value     integer     NOT NULL CHECK (value BETWEEN 0 AND 1000),  -- certainly good to certainly bad
    source    text        NOT NULL CHECK (source <> ''),
    event     text        NOT NULL CHECK (event <> ''),  -- the source's own id: the same event twice is one score
    scored_at timestamptz NOT NULL,  -- by the source's clock
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (source, event)
);
CREATE INDEX score_of ON risk.score (by, key, scored_at DESC, id DESC);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['rule_set', 'decision', 'deny_list', 'score'] LOOP
        EXECUTE format('CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON risk.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION risk.refuse_change()', name);
    END LOOP;
END
$$;

-- Install a set as the next version; `p_after` is the version that its author has seen, so that of two who change it at
-- once the second is told. Returns the version, or null where another came between.
CREATE FUNCTION risk.install(p_rules jsonb, p_author text, p_why text, p_after bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('risk.install'));
    IF p_after <> (SELECT coalesce(max(version), 0) FROM risk.rule_set) THEN
        RETURN NULL;
    END IF;
    INSERT INTO risk.rule_set (version, rules, author, why) VALUES (p_after + 1, p_rules, p_author, p_why);
    RETURN p_after + 1;
END
$$;
REVOKE EXECUTE ON FUNCTION risk.install FROM PUBLIC;

-- A fresh installation judges payouts alone: who is paid must be known, and on no sanctions list. Nothing is said of
-- payments until somebody has written a rule about them.
INSERT INTO risk.rule_set (version, rules, author, why) VALUES (1, '[
    {"name": "merchant-known", "kind": "kyc", "applies_to": ["payouts"], "verdict": "refuse",
     "timeout_ms": 100, "if_absent": "review"},
    {"name": "merchant-not-sanctioned", "kind": "sanctions", "applies_to": ["payouts"], "verdict": "refuse",
     "timeout_ms": 100, "if_absent": "review"}
]', 'holdfast', 'the gates of payouts, as every installation begins');
