-- Recompute what is derived, and name the first row that is wrong; no row means that everything agrees.
SET LOCAL ROLE ledger_owner;

CREATE FUNCTION ledger.verify() RETURNS TABLE (broken text, subject text, detail text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    (SELECT 'an entry does not balance', entry_id::text, currency
     FROM ledger.posting GROUP BY entry_id, currency
     HAVING coalesce(sum(amount) FILTER (WHERE layer = 0), 0) <> 0
         OR coalesce(sum(amount) FILTER (WHERE layer <> 0), 0) <> 0
     ORDER BY entry_id LIMIT 1)
    UNION ALL
    (SELECT 'a balance is not the sum of its postings', a.code, b.currency
     FROM ledger.balance b
     JOIN ledger.account a ON a.id = b.account_id
     LEFT JOIN LATERAL (
         SELECT coalesce(sum(amount) FILTER (WHERE layer = 0), 0) AS posted,
                coalesce(sum(amount) FILTER (WHERE layer = 1), 0) AS debit,
                coalesce(-sum(amount) FILTER (WHERE layer = 2), 0) AS credit,
                count(*) AS lines
         FROM ledger.posting p WHERE p.account_id = b.account_id
     ) AS summed ON true
     WHERE (b.posted, b.pending_debit, b.pending_credit, b.version)
        <> (summed.posted, summed.debit, summed.credit, summed.lines)
     ORDER BY a.code LIMIT 1)
    UNION ALL
    (SELECT 'a running balance breaks', account_id::text, account_version::text
     FROM (
         SELECT account_id, account_version, balance_after, posted_at,
                sum(amount) OVER (PARTITION BY account_id, layer ORDER BY account_version) AS summed,
                row_number() OVER (PARTITION BY account_id ORDER BY account_version) AS number,
                lag(posted_at) OVER (PARTITION BY account_id ORDER BY account_version) AS before
         FROM ledger.posting
     ) AS run
     WHERE summed <> balance_after OR number <> account_version OR before > posted_at
     ORDER BY account_id, account_version LIMIT 1)
    UNION ALL
    (SELECT 'a key has neither entry nor rejection, or both', k.reference, k.entry_id::text
     FROM ledger.entry_key k
     WHERE (EXISTS (SELECT 1 FROM ledger.entry e WHERE e.entry_id = k.entry_id))
         = (EXISTS (SELECT 1 FROM ledger.rejection r WHERE r.entry_id = k.entry_id))
     ORDER BY k.reference LIMIT 1)
    UNION ALL
    (SELECT 'what a hold has left is not what its entries left', s.reference, s.remaining::text
     FROM ledger.hold_state s
     LEFT JOIN (
         SELECT e.hold, sum(p.amount) AS left_over
         FROM ledger.entry e JOIN ledger.posting p USING (entry_id, posted_at)
         WHERE p.layer = 1 GROUP BY e.hold
     ) AS summed ON summed.hold = s.reference
     WHERE s.remaining <> coalesce(summed.left_over, 0)
     ORDER BY s.reference LIMIT 1)
    UNION ALL
    (SELECT 'an entry or a rejection has not exactly one event', k.reference, k.entry_id::text
     FROM ledger.entry_key k
     LEFT JOIN ledger.event e ON e.entry_id = k.entry_id AND e.action IN ('ledger.posted', 'ledger.refused')
     GROUP BY k.reference, k.entry_id HAVING count(e.id) <> 1
     ORDER BY k.reference LIMIT 1)
    UNION ALL
    (SELECT 'what became of a payment is not what its entries say', r.payment, r.currency
     FROM ledger.refundable r
     LEFT JOIN (
         SELECT payment, sum(captured) AS captured, sum(refunded) AS refunded, sum(disputed) AS disputed
         FROM ledger.entry GROUP BY payment
     ) AS summed USING (payment)
     WHERE (r.captured, r.refunded, r.disputed)
        IS DISTINCT FROM (summed.captured, summed.refunded, summed.disputed)
     ORDER BY r.payment LIMIT 1)
    UNION ALL
    (SELECT 'what a payment has reserved is not what its holds have left', r.payment, r.reserved::text
     FROM ledger.refundable r
     LEFT JOIN (
         SELECT h.payment, sum(s.remaining) AS reserved
         FROM ledger.hold h JOIN ledger.hold_state s USING (reference) GROUP BY h.payment
     ) AS summed USING (payment)
     WHERE r.reserved <> coalesce(summed.reserved, 0)
     ORDER BY r.payment LIMIT 1)
$$;
