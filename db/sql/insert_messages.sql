INSERT INTO session_messages (
  partition, session_id, sequence, message_id, brought, type, content, question_type, author, metadata, created_at)
SELECT
  p.partition, i.session_id, i.sequence, i.message_id, i.brought, i.type, i.content, i.question_type, i.author,
  i.metadata, i.created_at
FROM unnest($2::message_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
