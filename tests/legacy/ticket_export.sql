-- The old ticket export's tables as SQLAlchemy makes them: times without a zone, JSON where there is some, numbers
-- for ids; and rows as people leave them, bad ones among them. Read by legacy_reader_pgtest.cc and e2e/test_import.py.
CREATE TABLE sessions (
  id uuid PRIMARY KEY,
  jira_user_id varchar(128) NOT NULL,
  jira_display_name varchar(255),
  site_name varchar(255), site_description text,
  llm_provider_choice varchar(32), jira_project_key varchar(32),
  current_stage varchar(64) NOT NULL, status varchar(32) NOT NULL,
  total_tickets_generated integer NOT NULL DEFAULT 0,
  browser text, serial bigint,
  created_at timestamp NOT NULL, updated_at timestamp, completed_at timestamp);
CREATE TABLE session_tasks (
  id serial PRIMARY KEY, session_id uuid, task_type varchar(32), task_id varchar(255),
  status varchar(32), started_at timestamp, completed_at timestamp, failed_at timestamp,
  retry_count integer DEFAULT 0, failure_context json);
CREATE TABLE session_errors (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), session_id uuid, error_category varchar(32),
  severity varchar(32), operation_stage varchar(64), related_file_id integer,
  related_ticket_id integer, user_message text, recovery_actions json, technical_details text,
  error_code varchar(64), created_at timestamp);
CREATE TABLE uploaded_files (
  id serial PRIMARY KEY, session_id uuid, filename varchar(500), file_path text, size_bytes bigint,
  content bytea, uploaded_at timestamp);
CREATE TABLE tickets (
  id serial PRIMARY KEY, session_id uuid, title text, jira_url text, created_at timestamp);

INSERT INTO sessions VALUES
  ('00000000-0000-4000-8000-000000000001', 'jira-7', 'Ada', 'Berlin', 'The old town', 'openai', NULL,
   'processing', 'failed', 3, 'Firefox', 9007199254740993, '2025-01-05 10:00:00.123456', '2025-01-06 11:00', NULL),
  ('00000000-0000-4000-8000-000000000002', 'jira-8', NULL, NULL, NULL, NULL, 'ABC',
   'jira_export', 'Completed', 0, NULL, NULL, '2025-02-01 08:00', NULL, '2025-02-01 09:30'),
  ('00000000-0000-4000-8000-000000000003', 'jira-9', 'Eve', NULL, NULL, NULL, NULL,
   'upload', 'frozen', 0, NULL, NULL, '2025-03-01 08:00', NULL, NULL),
  ('00000000-0000-4000-8000-000000000004', 'jira-9', 'Eve', NULL, NULL, NULL, NULL,
   'upload', 'active', 0, NULL, NULL, '2025-03-01 08:00', NULL, NULL),
  ('00000000-0000-4000-8000-000000000005', 'jira-9', 'Eve', NULL, NULL, NULL, NULL,
   'upload', 'active', 0, NULL, NULL, '2025-03-02 08:00', NULL, NULL);
INSERT INTO session_tasks
  (session_id, task_type, task_id, status, started_at, failed_at, retry_count, failure_context) VALUES
  ('00000000-0000-4000-8000-000000000001', 'processing', '7F0E0000-0000-4000-8000-00000000000A', 'failed',
   '2025-01-05 12:00', '2025-01-05 12:30', 3, '{"status": 500}'),
  ('00000000-0000-4000-8000-000000000001', 'processing', 'celery-1', 'success', '2025-01-05 11:00', NULL, 0, NULL),
  (NULL, 'processing', NULL, 'running', '2025-01-05 11:00', NULL, 0, NULL);
INSERT INTO session_errors
  (id, session_id, error_category, severity, operation_stage, related_file_id, related_ticket_id, user_message,
   recovery_actions, technical_details, error_code, created_at) VALUES
  ('e0000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 'user_fixable', 'blocking',
   'upload', 1, 2, 'The plan cannot be read', '{"actions": ["Save it as PDF", "Upload it again"]}',
   '{"pages": 3}', 'E17', '2025-01-05 10:30'),
  ('e0000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'ADMIN_REQUIRED', 'Warning',
   NULL, NULL, NULL, 'Look at the log', '["Wait"]', 'Traceback: …', NULL, '2025-01-05 10:31'),
  ('e0000000-0000-4000-8000-000000000005', '00000000-0000-4000-8000-000000000005', 'temporary', 'info',
   NULL, NULL, NULL, '  ', NULL, NULL, NULL, '2025-03-02 10:31'),
  ('e0000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000004', 'gremlins', 'blocking',
   NULL, NULL, NULL, 'x', '{"steps": []}', NULL, NULL, '2025-01-05 10:31'),
  ('e0000000-0000-4000-8000-000000000009', '00000000-0000-4000-8000-000000000000', 'temporary', 'info',
   NULL, NULL, NULL, 'whose?', NULL, NULL, NULL, '2025-01-05 10:31');
INSERT INTO uploaded_files (session_id, filename, file_path, size_bytes, content, uploaded_at) VALUES
  ('00000000-0000-4000-8000-000000000001', 'plan.pdf', '/srv/plan.pdf', 12345, '\x00ff', '2025-01-05 10:10');
INSERT INTO tickets (session_id, title, jira_url, created_at) VALUES
  ('00000000-0000-4000-8000-000000000002', 'First', NULL, '2025-02-01 09:00'),
  ('00000000-0000-4000-8000-000000000001', repeat('ü', 200), 'https://jira/T-2', '2025-01-05 12:10');
