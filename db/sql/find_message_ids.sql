-- Which of the ids that callers bring for messages their sessions have already. Rides session_messages_brought.
SELECT m.session_id, m.message_id
FROM unnest($2::smallint[], $3::text[], $4::text[]) AS i (partition, session_id, message_id)
JOIN session_messages m
  ON m.partition = i.partition AND m.session_id = i.session_id AND m.message_id = i.message_id AND m.brought
WHERE m.partition = ANY($1::smallint[])
