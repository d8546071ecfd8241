-- Inserts the next revision of a workflow, unless its newest revision, or with $3 any, is equal; returns the revision,
-- and the newest before. No row: another daemon inserted the next revision at the same moment; run it again.
WITH newest AS (
  SELECT coalesce(max(w.revision), 0) AS revision
  FROM workflows w
  WHERE w.name = $1::text
), same AS (
  SELECT max(w.revision) AS revision
  FROM workflows w, newest
  WHERE w.name = $1::text AND w.definition = $2::jsonb AND ($3::boolean OR w.revision = newest.revision)
  HAVING count(*) > 0
), inserted AS (
  INSERT INTO workflows (name, revision, definition)
  SELECT $1::text, newest.revision + 1, $2::jsonb
  FROM newest
  WHERE NOT EXISTS (SELECT FROM same)
  ON CONFLICT DO NOTHING
  RETURNING revision
)
SELECT stored.revision, newest.revision
FROM (SELECT revision FROM same UNION ALL SELECT revision FROM inserted) stored, newest
