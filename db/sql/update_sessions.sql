-- One statement for all kinds of changes. A null context, counters, refs or labels leaves the column unchanged.
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
FROM unnest($2::session_row[]) AS i
WHERE s.partition = i.partition
  AND s.id = i.id
  AND s.partition = ANY($1::smallint[])
