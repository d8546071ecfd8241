DELETE FROM session_artifacts a
USING unnest($2::named_key[]) AS i
WHERE a.partition = i.partition
  AND a.session_id = i.session_id
  AND a.artifact_id = i.id
  AND a.partition = ANY($1::smallint[])
