-- The next revision of a workflow, unless the newest one is just this. REQUIRES: the workflows table is locked.
INSERT INTO workflows (name, revision, definition)
SELECT $1::text, coalesce(max(w.revision), 0) + 1, $2::jsonb
FROM workflows w
WHERE w.name = $1::text
HAVING coalesce((array_agg(w.definition ORDER BY w.revision DESC))[1] <> $2::jsonb, true)
