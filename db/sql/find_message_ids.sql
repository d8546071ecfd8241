-- Which of the message ids that callers supply their sessions already have. Rides session_messages_brought.
SELECT m.session_id, m.message_id
FROM unnest($2::named_key[]) AS i
JOIN session_messages m
  ON m.partition = i.partition AND m.session_id = i.session_id AND m.message_id = i.id AND m.brought
WHERE m.partition = ANY($1::smallint[])
