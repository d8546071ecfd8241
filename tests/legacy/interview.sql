-- The old interview trainer's tables as Django makes them: times with a zone, ids of 32 digits, as its UUIDs are where
-- they are text. Bad rows are among the good ones.
CREATE TABLE interview_sessions (
  id char(32) PRIMARY KEY, user_id varchar(64) NOT NULL, job_posting_id integer,
  status varchar(16) NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz,
  completed_at timestamptz);
CREATE TABLE session_messages (
  id bigserial PRIMARY KEY, session_id char(32), message_type varchar(16), content text,
  question_type varchar(16), score numeric, created_at timestamptz);
INSERT INTO interview_sessions VALUES
  ('0000000000004000800000000000000a', 'u1', 17, 'paused', '2025-05-01 10:00+02', NULL, NULL),
  ('0000000000004000800000000000000b', 'u2', NULL, 'completed', '2025-05-01 10:00+02', '2025-05-01 11:00+02', NULL),
  ('0000000000004000800000000000000c', 'u3', NULL, 'paused', '2025-05-01 10:00+02', NULL, NULL);
INSERT INTO session_messages (id, session_id, message_type, content, question_type, score, created_at) VALUES
  (10, '0000000000004000800000000000000a', 'answer', 'Because', NULL, 0.5, '2025-05-01 10:02+02'),
  (9, '0000000000004000800000000000000a', 'question', 'Why?', 'technical', NULL, '2025-05-01 10:02+02'),
  (8, '0000000000004000800000000000000a', 'question', 'How?', 'Behavioral', NULL, '2025-05-01 10:03+02'),
  (7, '0000000000004000800000000000000c', 'riddle', 'Who?', NULL, NULL, '2025-05-01 10:03+02'),
  (6, 'somebody else', 'question', 'Who?', NULL, NULL, '2025-05-01 10:03+02');
