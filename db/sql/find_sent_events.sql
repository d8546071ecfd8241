-- The events of these sessions at these sequences, if any, with caller and request. Rides
-- session_events_partition_session_id_sequence_key, once for each.
SELECT i.ix, e.sequence, e.event_at, e.caller, e.request_id
FROM unnest($2::session_key[]) AS i
JOIN session_events e ON e.partition = i.partition AND e.session_id = i.id AND e.sequence = i.sequence
WHERE e.partition = ANY($1::smallint[])
