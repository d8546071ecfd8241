-- Every revision of every workflow, where there are others than the $1 that were read; nothing otherwise.
SELECT name, revision, definition
FROM workflows
WHERE (SELECT count(*) FROM workflows) <> $1::bigint
ORDER BY name, revision
