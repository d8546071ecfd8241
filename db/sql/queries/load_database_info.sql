-- About the database: its id, its schema's version, PostgreSQL's version.
SELECT database_id::text, (SELECT max(version)::int FROM schema_migrations), current_setting('server_version')
FROM database_identity
