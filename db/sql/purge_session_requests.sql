-- The rows of requests about sessions, found by the requests' events: the key is computed from an event's columns, as
-- SessionStore does. A creation's row is in the partition of its key, whichever that is. Rides session_requests_pkey,
-- once for each event from the time for which requests are stored.
DELETE FROM session_requests r
USING unnest($2::ended_session_row[]) AS i
JOIN session_events e ON e.partition = i.partition AND e.session_id = i.id
CROSS JOIN LATERAL (SELECT CASE WHEN e.type = 1 THEN '' ELSE e.session_id END AS name) scope
CROSS JOIN LATERAL (
  SELECT encode(substring(sha256(convert_to(
    octet_length(e.caller) || ':' || e.caller || octet_length(scope.name) || ':' || scope.name ||
    octet_length(e.request_id) || ':' || e.request_id, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid AS value) key
WHERE e.event_at > clock_timestamp() - interval '2 days'
  AND e.partition = ANY($1::smallint[])
  AND r.partition = ANY(CASE WHEN e.type = 1 THEN ARRAY(SELECT p.partition FROM partitions p)
                             ELSE ARRAY[e.partition] END)
  AND r.request_key = key.value
