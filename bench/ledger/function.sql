-- pgbench: one call of the least function. `first` and `last` as in pipeline.sql.
\set debit random(:first, :last)
\set credit random(5001, 10000)
\set amount random(1, 5000)
SELECT base.post('cap_' || uuidv7() || '.c1/post', :debit, :credit, :amount);
