-- One statement for all kinds of changes. A null context, counters, refs or labels leaves the column as it is.
UPDATE sessions s
SET owner_id           = i.owner_id,
    owner_display_name = i.owner_display_name,
    state              = i.state,
    stage              = i.stage,
    status             = i.status,
    failed_at          = i.failed_at,
    fail_reason        = i.fail_reason,
    context            = coalesce(i.context, s.context),
    counters           = coalesce(i.counters, s.counters),
    refs               = coalesce(i.refs, s.refs),
    labels             = coalesce(i.labels, s.labels),
    hold               = i.hold,
    updated_at         = i.updated_at,
    completed_at       = i.completed_at,
    deleted_at         = i.deleted_at,
    purge_at           = i.purge_at,
    sequence           = i.sequence,
    revision           = i.revision,
    blocking_errors    = i.blocking_errors,
    message_count      = i.message_count
FROM unnest(
  $2::smallint[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::text[], $8::text[], $9::timestamptz[],
  $10::text[], $11::jsonb[], $12::jsonb[], $13::jsonb[], $14::jsonb[], $15::boolean[], $16::timestamptz[],
  $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::integer[], $21::integer[], $22::integer[],
  $23::integer[])
  AS i (partition, id, owner_id, owner_display_name, state, stage, status, failed_at, fail_reason, context, counters,
        refs, labels, hold, updated_at, completed_at, deleted_at, purge_at, sequence, revision,
        blocking_errors, message_count)
WHERE s.partition = i.partition
  AND s.id = i.id
  AND s.partition = ANY($1::smallint[])
