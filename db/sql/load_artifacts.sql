-- Artifacts that commands name by id. Rides session_artifacts_pkey, once for each.
SELECT {artifact_columns}
FROM unnest($2::named_key[]) AS i
JOIN session_artifacts a
  ON a.partition = i.partition AND a.session_id = i.session_id AND a.artifact_id = i.id
WHERE a.partition = ANY($1::smallint[])
