-- AppendMessages, of one message, as one statement and one commit; see advance.sql for why this is fair. By turns a
-- question, which is counted in the session, and an answer. `content` is given by `-D` and sent with each call.
\set i random(0, 16383)
\set partition :i % 64
\set question random(0, 1)
WITH changed AS (
  UPDATE sessions
  SET counters = CASE :question::integer
        WHEN 1 THEN jsonb_build_object('current_question_number', (counters ->> 'current_question_number')::integer + 1)
        ELSE counters
      END,
      message_count = message_count + 1,
      updated_at = now(),
      sequence = sequence + 1
  WHERE partition = :partition
    AND id = '00000000-0000-7000-8002-' || lpad(:i::text, 12, '0')
  RETURNING partition, id, sequence, state, stage, status, message_count,
    (counters ->> 'current_question_number')::integer AS questions, gen_random_uuid() AS request
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 21, state, state, stage, stage, status, status,
         3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('first_sequence', message_count, 'last_sequence', message_count,
                            'message_count', message_count)
           || CASE :question::integer
                WHEN 1 THEN jsonb_build_object('counters.current_question_number', questions)
                ELSE '{}'
              END,
         CASE :question::integer
           WHEN 1 THEN jsonb_build_object('counters.current_question_number', questions - 1)
           ELSE '{}'
         END
  FROM changed
),
message AS (
  INSERT INTO session_messages
  SELECT partition, id, message_count, gen_random_uuid()::text, false,
         CASE :question::integer WHEN 1 THEN 'question' ELSE 'answer' END,
         :content::text,
         CASE :question::integer WHEN 1 THEN 'technical' ELSE '' END,
         'Ada Lovelace', '{}', now()
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now(), message_count || E'\n' || message_count
FROM changed;
