// An upper bound for what groups can give: of all that the daemon does here is only the writing. No
// gRPC, no look-up of requests, no reading and locking before, no positions in the order of
// commits, and nobody is answered with the session. One statement takes a group as arrays; what it
// writes is what advance.sql and messages.sql write for one.
#include "tests/bench/raw.h"

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "state_machine/session_id.h"
#include "tests/bench/client.h"
#include "tests/bench/commands.h"
#include "tests/bench/keys.h"
#include "tests/bench/libpq.h"

namespace sessiond::bench {
namespace {

// As many sessions of each kind as prepare.sql makes.
constexpr int kSessions = 16384;
// Sessions come in steps of this, a prime: each comes once before any comes again.
constexpr int kStep = 7919;

// $1 says which sessions by their numbers, $2 how many partitions there are.
constexpr char kAdvance[] = R"(
WITH changed AS (
  UPDATE sessions s
  SET stage =
        (ARRAY['upload', 'processing', 'review', 'jira_export', 'completed'])[1 + sequence % 5],
      state = CASE sequence % 5 WHEN 4 THEN 6 - state ELSE state END,
      status = CASE
        WHEN sequence % 5 < 4 THEN status
        WHEN state = 2 THEN 'completed'
        ELSE 'active'
      END,
      completed_at = CASE sequence % 5 WHEN 4 THEN now() ELSE completed_at END,
      purge_at = CASE sequence % 5 WHEN 4 THEN now() + interval '7 days' ELSE purge_at END,
      updated_at = now(),
      sequence = sequence + 1,
      revision = sequence + 1
  FROM unnest($1::integer[]) AS i
  WHERE s.partition = i % $2::integer
    AND s.id = '00000000-0000-7000-8000-' || lpad(i::text, 12, '0')
  RETURNING s.partition, s.id, sequence, state, stage, status, gen_random_uuid() AS request
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 4, state, state, 'upload',
         stage, status, status, 3, 'anonymous', 'anonymous', '', request::text,
         '{}'
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now()
FROM changed)";

// $1: ids, $2: their partitions, $3: a number for each.
constexpr char kCreate[] = R"(
WITH created AS (
  INSERT INTO sessions
  SELECT n.partition, n.id, 'pgbench', 'ticket_export', 1, 'user-' || n.i % 5000, 'Ada Lovelace', 2,
         'site_info_collection', 'active', NULL, '',
         jsonb_build_object(
           'site_name', 'Harbour Street ' || n.i,
           'site_description',
           'Two production halls and an office wing; access over the north gate, keys at the '
           || 'porter, photos attached',
           'jira_project_key', 'SITE',
           'llm_provider_choice', 'anthropic'),
         '{"total_tickets_generated": 0}', '{}', jsonb_build_object('team', 'team-' || n.i % 100),
         false, now(), now(), NULL, NULL, NULL, now() + interval '7 days', 1, 1
  FROM unnest($1::text[], $2::smallint[], $3::integer[]) AS n (id, partition, i)
  RETURNING *, gen_random_uuid() AS request
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 1, 0, state, '', stage, '',
         status, 3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('namespace', namespace, 'workflow', workflow, 'owner_id', owner_id,
                            'owner_display_name', owner_display_name, 'stage', stage,
                            'context', context, 'counters', counters, 'labels', labels)
  FROM created
)
INSERT INTO session_requests
SELECT partition, request, request, id, now()
FROM created)";

// $1 and $2 as of kAdvance, $3: the contents.
constexpr char kAppend[] = R"(
WITH changed AS (
  UPDATE sessions s
  SET counters = CASE message_count % 2
        WHEN 0 THEN jsonb_build_object(
          'current_question_number', (counters ->> 'current_question_number')::integer + 1)
        ELSE counters
      END,
      message_count = message_count + 1,
      updated_at = now(),
      sequence = sequence + 1
  FROM unnest($1::integer[], $3::text[]) AS n (i, content)
  WHERE s.partition = n.i % $2::integer
    AND s.id = '00000000-0000-7000-8002-' || lpad(n.i::text, 12, '0')
  RETURNING s.partition, s.id, sequence, state, stage, status, message_count, n.content,
    message_count % 2 = 1 AS question,
    (counters ->> 'current_question_number')::integer AS questions, gen_random_uuid() AS request
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 21, state, state, stage,
         stage, status, status, 3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('first_sequence', message_count, 'last_sequence', message_count,
                            'message_count', message_count)
           || CASE WHEN question
                THEN jsonb_build_object('counters.current_question_number', questions)
                ELSE '{}'
              END,
         CASE WHEN question
           THEN jsonb_build_object('counters.current_question_number', questions - 1)
           ELSE '{}'
         END
  FROM changed
),
message AS (
  INSERT INTO session_messages
  SELECT partition, id, message_count, gen_random_uuid()::text, false,
         CASE WHEN question THEN 'question' ELSE 'answer' END, content,
         CASE WHEN question THEN 'technical' ELSE '' END, 'Ada Lovelace', '{}', now()
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now(), message_count || E'\n' || message_count
FROM changed)";

class Writer {
 public:
  explicit Writer(const std::string& db) : connection_(db) {
    connection_.Prepare("advance", kAdvance);
    connection_.Prepare("create", kCreate);
    connection_.Prepare("messages256", kAppend);
    partitions_ =
        std::stoi(connection_.Execute("SELECT partition_count FROM database_identity").Text(0, 0));
    for (char& letter : text_) letter = static_cast<char>('a' + random_() % 26);
  }

  void Write(const std::string& operation, int group) {
    const Rows written = connection_.Run(
        operation, operation == "create" ? NewSessions(group) : OldSessions(operation, group));
    if (written.affected() != absl::StrCat(group)) {
      throw std::runtime_error("not all sessions are there: has prepare.sql run on this database?");
    }
  }

 private:
  std::vector<std::string> NewSessions(int group) {
    std::vector<std::string> ids;
    std::vector<int> partitions;
    std::vector<int> numbers;
    for (int i = 0; i < group; ++i) {
      ids.push_back(MakeSessionId(v1::Workflow::UUID, absl::Now(), random_(), random_()));
      partitions.push_back(PartitionOf(ids.back(), partitions_));
      numbers.push_back(static_cast<int>(random_() % 100000));
    }
    return {Array(ids), Array(partitions), Array(numbers)};
  }

  std::vector<std::string> OldSessions(const std::string& operation, int group) {
    std::vector<int> numbers;
    std::vector<absl::string_view> contents;
    for (int i = 0; i < group; ++i) {
      numbers.push_back(next_ = (next_ + kStep) % kSessions);
      contents.push_back(absl::string_view(text_).substr(random_() % (text_.size() - 256), 256));
    }
    std::vector<std::string> parameters = {Array(numbers), absl::StrCat(partitions_)};
    if (operation == "messages256") parameters.push_back(Array(contents));
    return parameters;
  }

  Connection connection_;
  int partitions_ = 0;
  int next_ = 0;
  Random random_{std::random_device{}()};
  // What messages are cut of, as the load generator does.
  std::string text_ = std::string(std::size_t{1} << 20, ' ');
};

void Measure(Writer& writer, std::istringstream& words) {
  constexpr char kUse[] = "advance|create|messages256 GROUP SECONDS";
  std::string operation;
  int group = 0;
  double seconds = 0;
  Expect(words, kUse, operation, group, seconds);
  const bool known = operation == "advance" || operation == "create" || operation == "messages256";
  if (!known || group < 1 || group > kSessions || seconds <= 0)
    throw std::runtime_error(absl::StrCat("use: ", kUse));

  writer.Write(operation, group);  // Plans and caches warm up.
  std::int64_t written = 0;
  const Clock::time_point begin = Clock::now();
  Seconds elapsed(0);
  while (elapsed.count() < seconds) {
    writer.Write(operation, group);
    written += group;
    elapsed = Clock::now() - begin;
  }
  Answer(R"({"per_second": %.1f, "seconds": %.3f, "requests_all": %d})",
         static_cast<double>(written) / elapsed.count(), elapsed.count(), written + group);
}

}  // namespace

int RunRaw(const std::string& db) try {
  Writer writer(db);
  return ObeyStdin([&](std::istringstream& words) { Measure(writer, words); });
} catch (const std::runtime_error& error) {
  absl::FPrintF(stderr, "sessiond_bench: %s\n", error.what());
  return 1;
}

}  // namespace sessiond::bench
