INSERT INTO session_messages (
  partition, session_id, sequence, message_id, brought, type, content, question_type, author, metadata, created_at)
SELECT
  p.partition, i.session_id, i.sequence, i.message_id, i.brought, i.type, i.content, i.question_type, i.author,
  i.metadata, i.created_at
FROM unnest(
  $2::smallint[], $3::text[], $4::integer[], $5::text[], $6::boolean[], $7::text[], $8::text[], $9::text[], $10::text[],
  $11::jsonb[], $12::timestamptz[])
  AS i (partition, session_id, sequence, message_id, brought, type, content, question_type, author, metadata,
        created_at)
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
