-- Every revision of every workflow, if there are others than the $1 read before; else nothing.
SELECT name, revision, definition
FROM workflows
WHERE (SELECT count(*) FROM workflows) <> $1::bigint
ORDER BY name, revision
