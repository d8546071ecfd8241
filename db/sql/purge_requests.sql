-- Removes a bounded batch of request rows that are old enough. Rides session_requests_by_created.
DELETE FROM session_requests
WHERE ctid = ANY (ARRAY(
  SELECT r.ctid
  FROM session_requests r
  WHERE r.created_at < $1::timestamptz
  LIMIT 5000))
