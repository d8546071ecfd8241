SELECT name, revision, definition
FROM workflows
ORDER BY name, revision
