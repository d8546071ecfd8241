DELETE FROM session_artifacts a
USING unnest($2::smallint[], $3::text[], $4::text[]) AS i (partition, session_id, artifact_id)
WHERE a.partition = i.partition
  AND a.session_id = i.session_id
  AND a.artifact_id = i.artifact_id
  AND a.partition = ANY($1::smallint[])
