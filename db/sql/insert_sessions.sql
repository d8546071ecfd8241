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
FROM unnest(
  $2::smallint[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::smallint[],
  $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::jsonb[], $15::jsonb[], $16::jsonb[], $17::jsonb[], $18::boolean[],
  $19::timestamptz[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[], $23::timestamptz[],
  $24::timestamptz[], $25::integer[], $26::integer[], $27::integer[], $28::integer[])
  AS i (partition, id, namespace, workflow, workflow_revision, owner_id, owner_display_name, state, stage,
        status, failed_at, fail_reason, context, counters, refs, labels, hold, created_at, updated_at,
        completed_at, deleted_at, purge_at, recover_before_at, sequence, revision, blocking_errors,
        message_count)
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
