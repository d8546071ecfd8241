INSERT INTO session_artifacts (partition, session_id, artifact_id, kind, display_name, uri, metadata, created_at)
SELECT p.partition, i.session_id, i.artifact_id, i.kind, i.display_name, i.uri, i.metadata, i.created_at
FROM unnest($2::artifact_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
