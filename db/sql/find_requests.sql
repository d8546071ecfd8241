-- Rides session_requests_pkey, once for each key.
SELECT i.ix, r.fingerprint, r.session_id, r.answer
FROM unnest($2::request_key[]) AS i
JOIN session_requests r ON r.partition = i.partition AND r.request_key = i.request_key
WHERE r.partition = ANY($1::smallint[])
