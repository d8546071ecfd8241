INSERT INTO session_requests (partition, request_key, fingerprint, session_id, answer, created_at)
SELECT p.partition, i.request_key, i.fingerprint, i.session_id, i.answer, i.created_at
FROM unnest($2::request_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
