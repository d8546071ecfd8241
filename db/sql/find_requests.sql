-- Rides session_requests_pkey, once for each key.
SELECT i.ix, r.fingerprint, r.session_id, r.answer
FROM unnest($2::smallint[], $3::uuid[], $4::integer[]) AS i (partition, request_key, ix)
JOIN session_requests r ON r.partition = i.partition AND r.request_key = i.request_key
WHERE r.partition = ANY($1::smallint[])
