-- Who may do what here. The worker judges: it reads the rules and keeps decisions. People write rules and lists. Neither
-- chooses when something was written, and nobody changes what was: columns that are not named here keep their defaults.
GRANT USAGE ON SCHEMA risk TO holdfast_worker, holdfast;
GRANT SELECT ON ALL TABLES IN SCHEMA risk TO holdfast_worker, holdfast;
GRANT INSERT (operation, cleared, kind, client, merchant, currency, amount, instrument, country, payment, verdict, fired,
              version, milliseconds) ON risk.decision TO holdfast_worker, holdfast;
GRANT INSERT (by, key, value, source, event, scored_at) ON risk.score TO holdfast_worker, holdfast;
GRANT INSERT (list, value, denied, author, why) ON risk.deny_list TO holdfast;
GRANT INSERT (version, rules, author, why) ON risk.rule_set TO holdfast;
GRANT EXECUTE ON FUNCTION risk.install TO holdfast;
