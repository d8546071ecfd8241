-- The join lets a distributed PostgreSQL push the insert down to the partition's shard.
INSERT INTO sessions (
  partition, id, namespace, workflow, workflow_revision, owner_id, owner_display_name, state, stage, status,
  failed_at, fail_reason, context, counters, refs, labels, hold, created_at, updated_at,
  completed_at, deleted_at, purge_at, recover_before_at, sequence, revision, blocking_errors,
  message_count)
SELECT
  p.partition, i.id, i.namespace, i.workflow, i.workflow_revision, i.owner_id, i.owner_display_name, i.state, i.stage,
  i.status, i.failed_at, i.fail_reason, i.context, i.counters, i.refs, i.labels, i.hold, i.created_at, i.updated_at,
  i.completed_at, i.deleted_at, i.purge_at, i.recover_before_at, i.sequence, i.revision,
  i.blocking_errors, i.message_count
FROM unnest($2::session_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
