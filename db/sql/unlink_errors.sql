-- Errors about removed artifacts lose only the link; an error may be about two of them, but a row is updated once.
UPDATE session_errors x
SET related_file_id   = CASE WHEN x.related_file_id = ANY(i.artifact_ids) THEN '' ELSE x.related_file_id END,
    related_ticket_id = CASE WHEN x.related_ticket_id = ANY(i.artifact_ids) THEN '' ELSE x.related_ticket_id END
FROM (SELECT u.partition, u.session_id, array_agg(u.id) AS artifact_ids
      FROM unnest($2::named_key[]) AS u
      GROUP BY u.partition, u.session_id) i
WHERE x.partition = i.partition
  AND x.session_id = i.session_id
  AND (x.related_file_id = ANY(i.artifact_ids) OR x.related_ticket_id = ANY(i.artifact_ids))
  AND x.partition = ANY($1::smallint[])
