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

// A Struct, or a map, that may be unset.
template <class Fields>
std::optional<std::string> OptionalJson(bool has, const Fields& fields) {
  if (!has) return std::nullopt;
  return ToJson(fields);
}

void WriteAdvanced(const AdvancedRow& row, RowWriter& out) {
  out.Int2(row.partition);
  out.Int8(row.position);
  out.Int8(row.events);
  out.Time(row.until);
}

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
  out.Time(When(session.has_fail_time(), session.fail_time()));
  out.Text(session.fail_reason());
  // Null if nothing has changed: that leaves the column as it is.
  out.Jsonb(OptionalJson(row.fields_changed, session.context()));
  out.Jsonb(OptionalJson(row.counters_changed, session.counters()));
  out.Jsonb(OptionalJson(row.references_changed, session.references()));
  out.Jsonb(OptionalJson(row.fields_changed, session.labels()));
  out.Bool(session.hold());
  out.Time(When(session.has_create_time(), session.create_time()));
  out.Time(When(session.has_update_time(), session.update_time()));
  out.Time(When(session.has_complete_time(), session.complete_time()));
  out.Time(When(session.has_delete_time(), session.delete_time()));
  out.Time(When(session.has_purge_time(), session.purge_time()));
  out.Time(When(session.has_recover_before_time(), session.recover_before_time()));
  out.Int4(session.sequence());
  out.Int4(session.revision());
  out.Int4(row.blocking_errors);
  out.Int4(session.message_count());
}

void WriteTask(const Located<SessionTask>& at, RowWriter& out) {
  const SessionTask& task = *at.row;
  out.Int2(at.partition);
  out.Text(task.session_id());
  out.Text(task.task_type());
  out.Text(task.task_id());
  out.Int2(task.status());
  out.Time(When(task.has_start_time(), task.start_time()));
  out.Time(When(task.has_complete_time(), task.complete_time()));
  out.Time(When(task.has_fail_time(), task.fail_time()));
  out.Time(When(task.has_cancel_time(), task.cancel_time()));
  out.Int4(task.retry_count());
  out.Int4(task.max_retries());
  out.Int8(absl::ToInt64Milliseconds(FromProto(task.heartbeat_timeout())));
  out.Time(When(task.has_heartbeat_time(), task.heartbeat_time()));
  out.Jsonb(OptionalJson(task.has_progress(), task.progress()));
  out.Jsonb(OptionalJson(task.has_result(), task.result()));
  out.Jsonb(OptionalJson(task.has_failure_context(), task.failure_context()));
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
  out.Time(When(error.has_resolve_time(), error.resolve_time()));
  out.Text(error.resolver());
  out.Text(error.resolution());
}

void WriteMessage(const Located<NewMessage>& at, RowWriter& out) {
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
}

void WriteArtifact(const Located<SessionArtifact>& at, RowWriter& out) {
  const SessionArtifact& artifact = *at.row;
  out.Int2(at.partition);
  out.Text(artifact.session_id());
  out.Text(artifact.artifact_id());
  out.Int2(artifact.kind());
  out.Text(artifact.display_name());
  out.Text(artifact.uri());
  out.Jsonb(ToJson(artifact.metadata()));
  out.Time(FromProto(artifact.create_time()));
}

void WriteEvent(const EventRow& row, RowWriter& out) {
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
}

void WriteEnded(const EndedSession& row, RowWriter& out) {
  out.Int2(row.partition);
  out.Text(row.session.session_id());
  out.Text(row.session.namespace_());
  out.Text(row.session.workflow());
  out.Text(row.erased ? "" : row.session.owner_id());
  out.Time(FromProto(row.session.create_time()));
  out.Time(FromProto(row.session.update_time()));
  out.Int4(row.session.sequence());
}

}  // namespace

std::vector<ExpectedResult> QueueRows(const GroupRows& rows, Connection& connection) {
  std::vector<ExpectedResult> expected;
  const auto queue = [&](const Statement& statement, BinaryParams params = {},
                         int64_t touched = ExpectedResult::kAnyRows) {
    connection.Queue(statement, std::move(params));
    expected.push_back({&statement, touched});
  };
  // A statement over rows, whose fields `write` gives; none if there are no rows. `any`: it may
  // touch any number.
  const auto queue_rows = [&](const Statement& statement, const auto& of_kind, auto write,
                              bool any = false) {
    if (of_kind.empty()) return;
    queue(statement, SetParams(rows.partitions, of_kind, write),
          any ? ExpectedResult::kAnyRows : static_cast<int64_t>(of_kind.size()));
  };

  if (rows.begin) queue(kBegin);
  // A single partition is locked by its update; several are locked in ascending order first.
  if (rows.begin && rows.partitions.size() > 1) {
    BinaryParams partitions;
    partitions.AddInt2Array(rows.partitions);
    queue(kLockPartitions, std::move(partitions));
  }
  queue_rows(kAdvancePositions, rows.advanced, WriteAdvanced);
  queue_rows(kInsertSessions, rows.created, WriteSession);
  queue_rows(kUpdateSessions, rows.updated, WriteSession);
  queue_rows(kUpsertTasks, rows.tasks, WriteTask);
  // Before new artifacts, since an id may be reused, and before new errors, whose links are valid.
  queue_rows(kDeleteArtifacts, rows.deleted_artifacts, WriteNamedKey);
  queue_rows(kUnlinkErrors, rows.deleted_artifacts, WriteNamedKey, /*any=*/true);
  queue_rows(kInsertArtifacts, rows.artifacts, WriteArtifact);
  queue_rows(kInsertErrors, rows.recorded, WriteError);
  queue_rows(kResolveErrors, rows.resolved, WriteError);
  queue_rows(kInsertMessages, rows.messages, WriteMessage);
  queue_rows(kInsertEvents, rows.events, WriteEvent);
  // What remains of a session (its tombstone, its errors' patterns, its last event) is written
  // before its rows are removed.
  queue_rows(kInsertTombstones, rows.ended, WriteEnded);
  queue_rows(kKeepErrorPatterns, rows.ended, WriteEnded, /*any=*/true);
  if (!rows.ended.empty()) queue(kAllowPurging);
  for (const Statement* purge : {&kPurgeSessionRequests, &kPurgeEvents, &kPurgeTasks, &kPurgeErrors,
                                 &kPurgeMessages, &kPurgeArtifacts, &kPurgeSessions}) {
    queue_rows(*purge, rows.ended, WriteEnded, /*any=*/true);
  }
  queue_rows(kInsertRequests, rows.requests, [&rows](const RequestRow& row, RowWriter& out) {
    out.Int2(row.partition);
    out.Uuid(row.request_key);
    out.Uuid(row.fingerprint);
    out.Text(row.session_id);
    out.Text(row.answer);
    out.Time(rows.now);
  });
  queue(kCommit);
  return expected;
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
