INSERT INTO session_errors (
  partition, session_id, error_id, category, severity, operation_stage, related_file_id, related_ticket_id,
  user_message, recovery_actions, technical_details, error_code, created_at, resolved_at, resolver, resolution)
SELECT
  p.partition, i.session_id, i.error_id, i.category, i.severity, i.operation_stage, i.related_file_id,
  i.related_ticket_id, i.user_message, i.recovery_actions, i.technical_details, i.error_code, i.created_at,
  i.resolved_at, i.resolver, i.resolution
FROM unnest($2::error_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
