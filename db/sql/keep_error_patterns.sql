-- What remains of a session's errors: counts by what they have in common.
INSERT INTO error_patterns AS k (
  partition, namespace, workflow, operation_stage, category, error_code, errors)
SELECT x.partition, i.namespace, i.workflow, x.operation_stage, x.category, x.error_code, count(*)
FROM unnest($2::ended_session_row[]) AS i
JOIN session_errors x ON x.partition = i.partition AND x.session_id = i.id
WHERE x.partition = ANY($1::smallint[])
GROUP BY x.partition, i.namespace, i.workflow, x.operation_stage, x.category, x.error_code
ON CONFLICT (partition, namespace, workflow, operation_stage, category, error_code) DO UPDATE
SET errors = k.errors + excluded.errors
