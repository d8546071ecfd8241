#include "tests/bench/naive_database.h"

#include <google/protobuf/util/json_util.h>

#include <cstdint>
#include <map>
#include <random>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "db/base/sha256.h"
#include "state_machine/session_id.h"

namespace sessiond::bench {
namespace {

using google::protobuf::Struct;
using v1::Session;

constexpr char kColumns[] =
    "id, namespace, workflow, workflow_revision, owner_id, owner_display_name, state, stage, "
    "status, context, counters, refs, labels, hold, created_at, updated_at, completed_at, "
    "purge_at, recover_before_at, sequence, revision, message_count";

void PrepareStatements(Connection& connection) {
  const std::string returning = absl::StrCat(" RETURNING ", kColumns);
  connection.Execute("SET timezone = 'UTC'");
  connection.Prepare("begin", "BEGIN");
  connection.Prepare("commit", "COMMIT");
  connection.Prepare("rollback", "ROLLBACK");
  connection.Prepare(
      "get", absl::StrCat("SELECT ", kColumns, " FROM sessions WHERE partition = $1 AND id = $2"));
  connection.Prepare("lock",
                     "SELECT id, workflow, state, stage, status, counters, message_count"
                     " FROM sessions WHERE partition = $1 AND id = $2 FOR UPDATE");
  connection.Prepare("find_request",
                     "SELECT session_id FROM session_requests"
                     " WHERE partition = $1 AND request_key = $2");
  connection.Prepare(
      "insert_request",
      "INSERT INTO session_requests (partition, request_key, fingerprint, session_id, created_at)"
      " VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING");
  connection.Prepare(
      "insert_session",
      absl::StrCat(
          "INSERT INTO sessions (partition, id, namespace, workflow, workflow_revision, owner_id,"
          " owner_display_name, state, stage, status, fail_reason, context, counters, refs, labels,"
          " hold, created_at, updated_at, purge_at, recover_before_at, sequence, revision)"
          " VALUES ($1, $2, 'naive', $3, 1, $4, $5, 2, $6, 'active', '', $7, $8, '{}', $9, false,"
          " now(), now(), NULL, now() + interval '7 days', 1, 1)",
          returning));
  connection.Prepare(
      "update", absl::StrCat("UPDATE sessions SET context = context || $3::jsonb,"
                             " counters = counters || $4::jsonb, labels = labels || $5::jsonb,"
                             " updated_at = now(), sequence = sequence + 1, revision = sequence + 1"
                             " WHERE partition = $1 AND id = $2",
                             returning));
  connection.Prepare(
      "advance",
      absl::StrCat("UPDATE sessions SET stage = $3, updated_at = now(), sequence = sequence + 1,"
                   " revision = sequence + 1 WHERE partition = $1 AND id = $2",
                   returning));
  connection.Prepare(
      "complete",
      absl::StrCat("UPDATE sessions SET stage = $3, state = 4, status = 'completed',"
                   " completed_at = now(), purge_at = now() + interval '7 days',"
                   " updated_at = now(), sequence = sequence + 1, revision = sequence + 1"
                   " WHERE partition = $1 AND id = $2",
                   returning));
  connection.Prepare(
      "count_messages",
      absl::StrCat("UPDATE sessions SET message_count = message_count + $3,"
                   " counters = counters || $4::jsonb, updated_at = now(), sequence = sequence + 1"
                   " WHERE partition = $1 AND id = $2",
                   returning));
  connection.Prepare(
      "insert_message",
      "INSERT INTO session_messages (partition, session_id, sequence, message_id, brought, type,"
      " content, question_type, author, metadata, created_at)"
      " VALUES ($1, $2, $3, gen_random_uuid()::text, false, $4, $5, $6, $7, $8, now())");
  connection.Prepare(
      "insert_event",
      "INSERT INTO session_events (partition, position, session_id, sequence, event_at, type,"
      " old_state, new_state, old_stage, new_stage, old_status, new_status, trigger, actor, caller,"
      " reason, request_id, changes)"
      " VALUES ($1, nextval('pgbench_positions'), $2, $3, now(), $4, $5, $6, $7, $8, $9, $10, 3,"
      " 'anonymous', 'anonymous', $11, $12, $13)");
}

Struct FromJson(const std::string& json) {
  Struct parsed;
  if (!google::protobuf::util::JsonStringToMessage(json, &parsed).ok())
    throw std::runtime_error("the database has something that is not JSON");
  return parsed;
}

void ReadTime(const Rows& rows, int column, google::protobuf::Timestamp* timestamp) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime("%Y-%m-%d %H:%M:%E*S%Ez", rows.Text(0, column), &time, &error))
    throw std::runtime_error(error);
  const std::int64_t micros = absl::ToUnixMicros(time);
  timestamp->set_seconds(micros / 1'000'000);
  timestamp->set_nanos(static_cast<std::int32_t>(micros % 1'000'000 * 1'000));
}

void ReadCounters(const std::string& json, Session* session) {
  const Struct counters = FromJson(json);
  for (const auto& [name, value] : counters.fields())
    (*session->mutable_counters())[name] = static_cast<std::int32_t>(value.number_value());
}

struct Stage {
  std::string name;
  std::string display_name;
};

struct Workflow {
  std::string counter;
  std::vector<Stage> stages;
};

// Null when there is none.
const Workflow* FindWorkflow(const std::string& name) {
  static const std::map<std::string, Workflow> workflows = {
      {"ticket_export",
       {"total_tickets_generated",
        {{"site_info_collection", "Site information"},
         {"upload", "Upload"},
         {"processing", "Processing"},
         {"review", "Review"},
         {"jira_export", "Jira export"},
         {"completed", "Completed"}}}},
      {"interview",
       {"current_question_number",
        {{"interviewing", "Interviewing"}, {"completed", "Completed"}}}}};
  const auto found = workflows.find(name);
  return found == workflows.end() ? nullptr : &found->second;
}

void NameStages(Session* session) {
  const Workflow* workflow = FindWorkflow(session->workflow());
  if (workflow == nullptr) return;
  for (auto stage = workflow->stages.begin(); stage != workflow->stages.end(); ++stage) {
    if (stage->name != session->stage()) continue;
    session->set_stage_display_name(stage->display_name);
    if (std::next(stage) != workflow->stages.end()) session->set_next_stage(std::next(stage)->name);
  }
}

// Sixteen bytes in hexadecimal, which PostgreSQL takes for a UUID.
std::string Digest(const std::string& bytes) { return db::Sha256Hex(bytes).substr(0, 32); }

}  // namespace

Pool::Pool(const std::string& conninfo, int connections) {
  for (int i = 0; i < connections; ++i) {
    free_.push_back(std::make_unique<Connection>(conninfo));
    PrepareStatements(*free_.back());
  }
  partitions_ =
      std::stoi(free_.back()->Execute("SELECT partition_count FROM database_identity").Text(0, 0));
}

std::string Pool::PartitionOf(const std::string& id) const {
  return absl::StrCat(sessiond::PartitionOf(id, partitions_));
}

Transaction::~Transaction() {
  if (committed_) return;
  try {
    connection_->Run("rollback", {});
  } catch (const std::runtime_error&) {
    // The connection is lost, and with it the transaction.
  }
}

Rows Transaction::Run(const std::string& statement, const std::string& session_id,
                      std::vector<std::string> parameters) {
  parameters.insert(parameters.begin(), {pool_.PartitionOf(session_id), session_id});
  return connection_->Run(statement, parameters);
}

bool Transaction::Remember(const std::string& request_id, const std::string& payload,
                           const std::string& about_session, const std::string& session_id) {
  const Rows inserted = connection_->Run(
      "insert_request",
      {pool_.PartitionOf(about_session.empty() ? request_id : about_session),
       Digest(absl::StrCat(about_session, "\n", request_id)), Digest(payload), session_id});
  return inserted.affected() == "1";
}

std::string Transaction::CreatedBefore(const std::string& request_id) {
  return connection_
      ->Run("find_request", {pool_.PartitionOf(request_id), Digest(absl::StrCat("\n", request_id))})
      .Text(0, 0);
}

void Transaction::InsertEvent(v1::SessionEvent::Type type, const Session& before,
                              const Session& after, const std::string& reason,
                              const std::string& request_id, const Struct& changes) {
  Run("insert_event", after.session_id(),
      {absl::StrCat(after.sequence()), absl::StrCat(type), absl::StrCat(before.state()),
       absl::StrCat(after.state()), before.stage(), after.stage(), before.status(), after.status(),
       reason, request_id, ToJson(changes)});
}

void Transaction::Commit() {
  connection_->Run("commit", {});
  committed_ = true;
}

Session ReadSession(const Rows& rows) {
  Session session;
  int column = 0;
  const auto text = [&] { return rows.Text(0, column++); };
  const auto number = [&] { return std::stoi(rows.Text(0, column++)); };
  const auto time = [&](auto set) {
    if (!rows.IsNull(0, column)) ReadTime(rows, column, set());
    ++column;
  };
  session.set_session_id(text());
  session.set_namespace_(text());
  session.set_workflow(text());
  session.set_workflow_revision(number());
  session.set_owner_id(text());
  session.set_owner_display_name(text());
  session.set_state(static_cast<Session::State>(number()));
  session.set_stage(text());
  session.set_status(text());
  *session.mutable_context() = FromJson(text());
  ReadCounters(text(), &session);
  const Struct references = FromJson(text());
  for (const auto& [name, value] : references.fields())
    (*session.mutable_references())[name] = value.string_value();
  const Struct labels = FromJson(text());
  for (const auto& [name, value] : labels.fields())
    (*session.mutable_labels())[name] = value.string_value();
  session.set_hold(text() == "t");
  time([&] { return session.mutable_create_time(); });
  time([&] { return session.mutable_update_time(); });
  time([&] { return session.mutable_complete_time(); });
  time([&] { return session.mutable_purge_time(); });
  time([&] { return session.mutable_recover_before_time(); });
  session.set_sequence(number());
  session.set_revision(number());
  session.set_message_count(number());
  session.set_etag(absl::StrCat(session.revision()));
  session.set_recoverable(session.state() == Session::ACTIVE &&
                          absl::FromUnixSeconds(session.recover_before_time().seconds()) >
                              absl::Now());
  NameStages(&session);
  return session;
}

Session ReadLocked(const Rows& rows) {
  Session session;
  session.set_session_id(rows.Text(0, 0));
  session.set_workflow(rows.Text(0, 1));
  session.set_state(static_cast<Session::State>(std::stoi(rows.Text(0, 2))));
  session.set_stage(rows.Text(0, 3));
  session.set_status(rows.Text(0, 4));
  ReadCounters(rows.Text(0, 5), &session);
  session.set_message_count(std::stoi(rows.Text(0, 6)));
  NameStages(&session);
  return session;
}

std::string ToJson(const Struct& fields) {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(fields, &json).ok())
    throw std::runtime_error("a number is none that JSON knows");
  return json;
}

std::string FirstStage(const std::string& name) {
  const Workflow* workflow = FindWorkflow(name);
  return workflow == nullptr ? "" : workflow->stages.front().name;
}

std::string CounterOf(const std::string& name) {
  const Workflow* workflow = FindWorkflow(name);
  return workflow == nullptr ? "" : workflow->counter;
}

std::string DrawId() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return MakeSessionId(v1::Workflow::UUID, absl::Now(), random(), random());
}

}  // namespace sessiond::bench
