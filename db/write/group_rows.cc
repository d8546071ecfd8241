#include "db/write/group_rows.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <utility>

#include "db/connection/sql_error.h"
#include "db/rows/set_params.h"
#include "db/sql/statements.h"
#include "state_machine/refusal.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionTask;

// A time that may be unset.
std::optional<absl::Time> OptionalTime(bool has, const google::protobuf::Timestamp& time) {
  if (!has) return std::nullopt;
  return FromProto(time);
}

// A Struct, or a map, that may be unset.
template <class Fields>
std::optional<std::string> OptionalJson(bool has, const Fields& fields) {
  if (!has) return std::nullopt;
  return ToJson(fields);
}

// Queues one statement for each kind of row.
class Writer {
 public:
  Writer(const GroupRows& rows, Connection& connection) : rows_(rows), connection_(connection) {}

  std::vector<ExpectedResult> QueueAll() {
    if (rows_.begin) Begin();
    Positions();
    Created();
    Updated();
    Tasks();
    DeletedArtifacts();
    Unlinked();
    Artifacts();
    Recorded();
    Resolved();
    Messages();
    Events();
    if (!rows_.ended.empty()) Ended();
    Requests();
    Queue(kCommit);
    return std::move(expected_);
  }

 private:
  void Queue(const Statement& statement, Params params = {},
             int64_t rows = ExpectedResult::kAnyRows) {
    connection_.Queue(statement, std::move(params));
    expected_.push_back({&statement, rows});
  }
  // Queues a statement over `rows`, whose fields `write` gives; skipped if there are none.
  template <class Row, class Write>
  void Queue(const Statement& statement, const std::vector<Row>& rows, Write write,
             bool any = false) {
    if (rows.empty()) return;
    Queue(statement, SetParams(rows_.partitions, rows, write),
          any ? ExpectedResult::kAnyRows : static_cast<int64_t>(rows.size()));
  }

  void Begin();
  void Positions();
  void Created();
  void Updated();
  void Tasks();
  void Recorded();
  void Resolved();
  void Unlinked();
  void Messages();
  void Artifacts();
  void DeletedArtifacts();
  void Events();
  void Ended();
  void Requests();

  const GroupRows& rows_;
  Connection& connection_;
  std::vector<ExpectedResult> expected_;
};

// A single partition is locked by its update; several are locked in ascending order first.
void Writer::Begin() {
  Queue(kBegin);
  if (rows_.partitions.size() < 2) return;
  Params partitions;
  partitions.AddInt2Array(rows_.partitions);
  Queue(kLockPartitions, std::move(partitions));
}

void Writer::Positions() {
  Queue(kAdvancePositions, rows_.advanced, [](const AdvancedRow& row, RowWriter& out) {
    out.Int2(row.partition);
    out.Int8(row.position);
    out.Int8(row.events);
    out.Time(row.until);
  });
}

// -------------------------------------------------------------------------------------------------
// sessions

// All columns, though an update leaves those that never change (namespace, workflow, creation, the
// end of recovery) as they are.
void WriteSession(const SessionRow& row, RowWriter& out) {
  const Session& session = *row.session;
  out.Int2(row.partition);
  out.Text(session.session_id());
  out.Text(session.namespace_());
  out.Text(session.workflow());
  out.Int4(session.workflow_revision());
  out.Text(session.owner_id());
  out.Text(session.owner_display_name());
  out.Int2(session.state());
  out.Text(session.stage());
  out.Text(session.status());
  out.Time(OptionalTime(session.has_fail_time(), session.fail_time()));
  out.Text(session.fail_reason());
  // Null if nothing has changed: that leaves the column as it is.
  out.Jsonb(OptionalJson(row.fields_changed, session.context()));
  out.Jsonb(OptionalJson(row.counters_changed, session.counters()));
  out.Jsonb(OptionalJson(row.references_changed, session.references()));
  out.Jsonb(OptionalJson(row.fields_changed, session.labels()));
  out.Bool(session.hold());
  out.Time(OptionalTime(session.has_create_time(), session.create_time()));
  out.Time(OptionalTime(session.has_update_time(), session.update_time()));
  out.Time(OptionalTime(session.has_complete_time(), session.complete_time()));
  out.Time(OptionalTime(session.has_delete_time(), session.delete_time()));
  out.Time(OptionalTime(session.has_purge_time(), session.purge_time()));
  out.Time(OptionalTime(session.has_recover_before_time(), session.recover_before_time()));
  out.Int4(session.sequence());
  out.Int4(session.revision());
  out.Int4(row.blocking_errors);
  out.Int4(session.message_count());
}

void Writer::Created() { Queue(kInsertSessions, rows_.created, WriteSession); }
void Writer::Updated() { Queue(kUpdateSessions, rows_.updated, WriteSession); }

// -------------------------------------------------------------------------------------------------
// below sessions

void Writer::Tasks() {
  using Row = Located<SessionTask>;
  Queue(kUpsertTasks, rows_.tasks, [](const Row& at, RowWriter& out) {
    const SessionTask& task = *at.row;
    out.Int2(at.partition);
    out.Text(task.session_id());
    out.Text(task.task_type());
    out.Text(task.task_id());
    out.Int2(task.status());
    out.Time(OptionalTime(task.has_start_time(), task.start_time()));
    out.Time(OptionalTime(task.has_complete_time(), task.complete_time()));
    out.Time(OptionalTime(task.has_fail_time(), task.fail_time()));
    out.Time(OptionalTime(task.has_cancel_time(), task.cancel_time()));
    out.Int4(task.retry_count());
    out.Int4(task.max_retries());
    out.Int8(absl::ToInt64Milliseconds(FromProto(task.heartbeat_timeout())));
    out.Time(OptionalTime(task.has_heartbeat_time(), task.heartbeat_time()));
    out.Jsonb(OptionalJson(task.has_progress(), task.progress()));
    out.Jsonb(OptionalJson(task.has_result(), task.result()));
    out.Jsonb(OptionalJson(task.has_failure_context(), task.failure_context()));
  });
}

// All columns, though a resolution uses only its own three.
void WriteError(const Located<SessionError>& at, RowWriter& out) {
  const SessionError& error = *at.row;
  out.Int2(at.partition);
  out.Text(error.session_id());
  out.Text(error.error_id());
  out.Int2(error.category());
  out.Int2(error.severity());
  out.Text(error.operation_stage());
  out.Text(error.related_file_id());
  out.Text(error.related_ticket_id());
  out.Text(error.user_message());
  out.Jsonb(ToJson(error.recovery_actions()));
  out.Jsonb(ToJson(error.technical_details()));
  out.Text(error.error_code());
  out.Time(FromProto(error.create_time()));
  out.Time(OptionalTime(error.has_resolve_time(), error.resolve_time()));
  out.Text(error.resolver());
  out.Text(error.resolution());
}

void Writer::Recorded() { Queue(kInsertErrors, rows_.recorded, WriteError); }
void Writer::Resolved() { Queue(kResolveErrors, rows_.resolved, WriteError); }

void Writer::Messages() {
  using Row = Located<NewMessage>;
  Queue(kInsertMessages, rows_.messages, [](const Row& at, RowWriter& out) {
    const v1::SessionMessage& message = at.row->message;
    out.Int2(at.partition);
    out.Text(message.session_id());
    out.Int4(message.sequence());
    out.Text(message.message_id());
    out.Bool(at.row->id_brought);
    out.Text(message.type());
    out.Text(message.content());
    out.Text(message.question_type());
    out.Text(message.author());
    out.Jsonb(ToJson(message.metadata()));
    out.Time(FromProto(message.create_time()));
  });
}

void Writer::Artifacts() {
  using Row = Located<SessionArtifact>;
  Queue(kInsertArtifacts, rows_.artifacts, [](const Row& at, RowWriter& out) {
    const SessionArtifact& artifact = *at.row;
    out.Int2(at.partition);
    out.Text(artifact.session_id());
    out.Text(artifact.artifact_id());
    out.Int2(artifact.kind());
    out.Text(artifact.display_name());
    out.Text(artifact.uri());
    out.Jsonb(ToJson(artifact.metadata()));
    out.Time(FromProto(artifact.create_time()));
  });
}

// Before the new ones: an id may be reused.
void Writer::DeletedArtifacts() { Queue(kDeleteArtifacts, rows_.deleted_artifacts, WriteNamedKey); }

// Before new errors, whose links are all valid.
void Writer::Unlinked() {
  Queue(kUnlinkErrors, rows_.deleted_artifacts, WriteNamedKey, /*any=*/true);
}

// -------------------------------------------------------------------------------------------------
// events, ends, requests

void Writer::Events() {
  Queue(kInsertEvents, rows_.events, [](const EventRow& row, RowWriter& out) {
    const v1::SessionEvent& event = *row.event;
    out.Int2(row.partition);
    out.Int8(row.position);
    out.Text(event.session_id());
    out.Int4(event.sequence());
    out.Time(FromProto(event.event_time()));
    out.Int2(event.type());
    out.Int2(event.old_state());
    out.Int2(event.new_state());
    out.Text(event.old_stage());
    out.Text(event.new_stage());
    out.Text(event.old_status());
    out.Text(event.new_status());
    out.Int2(event.trigger());
    out.Text(event.actor());
    out.Text(event.caller());
    out.Text(event.reason());
    out.Text(event.request_id());
    out.Jsonb(ToJson(event.changes()));
    out.Jsonb(OptionalJson(row.before->fields_size() > 0, *row.before));
  });
}

// What remains of a session (its tombstone, its errors' patterns, its last event) is written before
// its rows are removed.
void Writer::Ended() {
  const auto write = [](const EndedSession& row, RowWriter& out) {
    out.Int2(row.partition);
    out.Text(row.session.session_id());
    out.Text(row.session.namespace_());
    out.Text(row.session.workflow());
    out.Text(row.erased ? "" : row.session.owner_id());
    out.Time(FromProto(row.session.create_time()));
    out.Time(FromProto(row.session.update_time()));
    out.Int4(row.session.sequence());
  };
  Queue(kInsertTombstones, rows_.ended, write);
  Queue(kKeepErrorPatterns, rows_.ended, write, /*any=*/true);
  Queue(kAllowPurging);
  for (const Statement* purge : {&kPurgeSessionRequests, &kPurgeEvents, &kPurgeTasks, &kPurgeErrors,
                                 &kPurgeMessages, &kPurgeArtifacts, &kPurgeSessions}) {
    Queue(*purge, rows_.ended, write, /*any=*/true);
  }
}

void Writer::Requests() {
  Queue(kInsertRequests, rows_.requests, [this](const RequestRow& row, RowWriter& out) {
    out.Int2(row.partition);
    out.Uuid(row.request_key);
    out.Uuid(row.fingerprint);
    out.Text(row.session_id);
    out.Text(row.answer);
    out.Time(rows_.now);
  });
}

}  // namespace

std::vector<ExpectedResult> QueueRows(const GroupRows& rows, Connection& connection) {
  return Writer(rows, connection).QueueAll();
}

absl::StatusOr<Written> ReadWritten(const std::vector<ExpectedResult>& expected,
                                    const std::vector<Result>& results) {
  if (!IsCommitted(results.back())) return CommitInDoubt();
  Written written;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto [statement, rows] = expected[i];
    if (statement == &kAdvancePositions && results[i].rows() > 0)
      written.time = results[i].Timestamp(0, 0);
    if (rows == ExpectedResult::kAnyRows || rows == results[i].affected()) continue;
    spdlog::critical("{} touched {} rows instead of {}", statement->name, results[i].affected(),
                     rows);
    written.defect =
        Refusal(v1::CONSTRAINT_VIOLATION, "The database wrote other rows than it was told to.");
  }
  return written;
}

}  // namespace sessiond::db
