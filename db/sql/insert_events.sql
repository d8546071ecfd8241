INSERT INTO session_events (
  partition, position, session_id, sequence, event_at, type, old_state, new_state, old_stage, new_stage, old_status,
  new_status, trigger, actor, caller, reason, request_id, changes, before)
SELECT
  p.partition, i.position, i.session_id, i.sequence, i.event_at, i.type, i.old_state, i.new_state, i.old_stage,
  i.new_stage, i.old_status, i.new_status, i.trigger, i.actor, i.caller, i.reason, i.request_id, i.changes, i.before
FROM unnest($2::event_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
