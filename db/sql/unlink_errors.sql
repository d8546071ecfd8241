-- Errors about an artifact that goes keep everything but the link.
UPDATE session_errors x
SET related_file_id   = CASE WHEN x.related_file_id = i.artifact_id THEN '' ELSE x.related_file_id END,
    related_ticket_id = CASE WHEN x.related_ticket_id = i.artifact_id THEN '' ELSE x.related_ticket_id END
FROM unnest($2::smallint[], $3::text[], $4::text[]) AS i (partition, session_id, artifact_id)
WHERE x.partition = i.partition
  AND x.session_id = i.session_id
  AND i.artifact_id IN (x.related_file_id, x.related_ticket_id)
  AND x.partition = ANY($1::smallint[])
