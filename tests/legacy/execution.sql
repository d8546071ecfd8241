-- The old data service's table as one writes it by hand: text ids, no state. Bad rows are among the good ones.
CREATE TABLE sessions (
  id serial PRIMARY KEY, session_id text UNIQUE, user_id bigint, data jsonb,
  created_at timestamptz NOT NULL, deleted_at timestamptz);
INSERT INTO sessions (session_id, user_id, data, created_at, deleted_at) VALUES
  ('exec_20251230_020944_4ad060d9', 9007199254740993, '{"rows": 10}', '2025-12-30 04:09:44+02', NULL),
  ('exec_20251231_000000_00000000', NULL, NULL, '2025-12-31 00:00+00', '2026-01-01 00:00+00'),
  ('EXEC-1', NULL, NULL, '2025-12-31 00:00+00', NULL),
  (NULL, NULL, NULL, '2025-12-31 00:00+00', NULL);
