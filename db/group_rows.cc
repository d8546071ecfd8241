#include "db/group_rows.h"

#include <spdlog/spdlog.h>

#include <optional>

#include "db/columns.h"
#include "db/statements.h"
#include "server/state_machine/struct_json.h"

namespace sessiond::db {
namespace {

using google::protobuf::Struct;
using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionTask;

std::optional<std::string> OptionalJson(bool has, const Struct& fields) {
  if (!has) return std::nullopt;
  return ToJson(fields);
}

// Queues one statement for each kind of row.
class Writer {
 public:
  Writer(const GroupRows& rows, const std::vector<int16_t>& partitions, Connection& connection,
         std::vector<Expected>* expected)
      : rows_(rows), partitions_(partitions), connection_(connection), expected_(*expected) {}

  void Queue() {
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
  }

 private:
  // A statement over `rows`, whose columns `fill` gives; left out when there are none.
  template <class Row, class Fill>
  void Write(const Statement& statement, const std::vector<Row>& rows, Fill fill,
             bool any = false) {
    if (rows.empty()) return;
    Params params;
    params.AddInt2Array(partitions_);
    Columns<Row> columns(rows, params);
    fill(columns);
    connection_.Queue(statement, std::move(params));
    expected_.push_back({statement.name, any ? kAny : static_cast<int64_t>(rows.size())});
  }

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
  const std::vector<int16_t>& partitions_;
  Connection& connection_;
  std::vector<Expected>& expected_;
};

void Writer::Positions() {
  Write(kAdvancePositions, rows_.advanced, [](Columns<AdvancedRow>& columns) {
    columns.Int2([](const AdvancedRow& row) { return row.partition; });
    columns.Int8([](const AdvancedRow& row) { return row.position; });
    columns.Int8([](const AdvancedRow& row) { return row.events; });
    columns.Time([](const AdvancedRow& row) { return row.until; });
  });
}

// -------------------------------------------------------------------------------------------------
// sessions

// Columns by the names of the message's accessors.
class SessionColumns {
 public:
  explicit SessionColumns(Columns<SessionRow>& columns) : columns_(columns) {}
  template <class Field>
  void Text(Field field) {
    columns_.Text(
        [&](const SessionRow& row) { return absl::string_view((row.session->*field)()); });
  }
  template <class Field>
  void Int4(Field field) {
    columns_.Int4([&](const SessionRow& row) { return (row.session->*field)(); });
  }
  template <class Has, class Field>
  void Time(Has has, Field field) {
    columns_.Time([&](const SessionRow& row) {
      return OptionalTime((row.session->*has)(), (row.session->*field)());
    });
  }
  // Null, which leaves the column as it is, unless `changed`.
  template <class Field>
  void Json(Field field, bool SessionRow::*changed) {
    columns_.Jsonb([&](const SessionRow& row) {
      return row.*changed ? std::optional<std::string>(ToJson((row.session->*field)()))
                          : std::nullopt;
    });
  }
  void State() {
    columns_.Int2([](const SessionRow& row) { return row.session->state(); });
  }
  void Hold() {
    columns_.Bool([](const SessionRow& row) { return row.session->hold(); });
  }
  void Counts() {
    Int4(&Session::sequence);
    Int4(&Session::revision);
    columns_.Int4([](const SessionRow& row) { return row.blocking_errors; });
    Int4(&Session::message_count);
  }
  void Fields() {
    Json(&Session::context, &SessionRow::fields_changed);
    Json(&Session::counters, &SessionRow::counters_changed);
    Json(&Session::references, &SessionRow::references_changed);
    Json(&Session::labels, &SessionRow::fields_changed);
  }

 private:
  Columns<SessionRow>& columns_;
};

void Writer::Created() {
  Write(kInsertSessions, rows_.created, [](Columns<SessionRow>& plain) {
    SessionColumns columns(plain);
    plain.Int2([](const SessionRow& row) { return row.partition; });
    columns.Text(&Session::session_id);
    columns.Text(&Session::namespace_);
    columns.Text(&Session::workflow);
    columns.Int4(&Session::workflow_revision);
    columns.Text(&Session::owner_id);
    columns.Text(&Session::owner_display_name);
    columns.State();
    columns.Text(&Session::stage);
    columns.Text(&Session::status);
    columns.Time(&Session::has_fail_time, &Session::fail_time);
    columns.Text(&Session::fail_reason);
    columns.Fields();
    columns.Hold();
    columns.Time(&Session::has_create_time, &Session::create_time);
    columns.Time(&Session::has_update_time, &Session::update_time);
    columns.Time(&Session::has_complete_time, &Session::complete_time);
    columns.Time(&Session::has_delete_time, &Session::delete_time);
    columns.Time(&Session::has_purge_time, &Session::purge_time);
    columns.Time(&Session::has_recover_before_time, &Session::recover_before_time);
    columns.Counts();
  });
}

void Writer::Updated() {
  Write(kUpdateSessions, rows_.updated, [](Columns<SessionRow>& plain) {
    SessionColumns columns(plain);
    plain.Int2([](const SessionRow& row) { return row.partition; });
    columns.Text(&Session::session_id);
    columns.Text(&Session::owner_id);
    columns.Text(&Session::owner_display_name);
    columns.State();
    columns.Text(&Session::stage);
    columns.Text(&Session::status);
    columns.Time(&Session::has_fail_time, &Session::fail_time);
    columns.Text(&Session::fail_reason);
    columns.Fields();
    columns.Hold();
    columns.Time(&Session::has_update_time, &Session::update_time);
    columns.Time(&Session::has_complete_time, &Session::complete_time);
    columns.Time(&Session::has_delete_time, &Session::delete_time);
    columns.Time(&Session::has_purge_time, &Session::purge_time);
    columns.Counts();
  });
}

// -------------------------------------------------------------------------------------------------
// below sessions

void Writer::Tasks() {
  using Row = Located<SessionTask>;
  Write(kUpsertTasks, rows_.tasks, [](Columns<Row>& columns) {
    const auto time = [&](auto has, auto field) {
      columns.Time(
          [&](const Row& at) { return OptionalTime((at.row->*has)(), (at.row->*field)()); });
    };
    const auto json = [&](auto has, auto field) {
      columns.Jsonb(
          [&](const Row& at) { return OptionalJson((at.row->*has)(), (at.row->*field)()); });
    };
    columns.Int2([](const Row& at) { return at.partition; });
    columns.Text([](const Row& at) { return absl::string_view(at.row->session_id()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->task_type()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->task_id()); });
    columns.Int2([](const Row& at) { return at.row->status(); });
    time(&SessionTask::has_start_time, &SessionTask::start_time);
    time(&SessionTask::has_complete_time, &SessionTask::complete_time);
    time(&SessionTask::has_fail_time, &SessionTask::fail_time);
    time(&SessionTask::has_cancel_time, &SessionTask::cancel_time);
    columns.Int4([](const Row& at) { return at.row->retry_count(); });
    columns.Int4([](const Row& at) { return at.row->max_retries(); });
    columns.Int8([](const Row& at) {
      return absl::ToInt64Milliseconds(FromProto(at.row->heartbeat_timeout()));
    });
    time(&SessionTask::has_heartbeat_time, &SessionTask::heartbeat_time);
    json(&SessionTask::has_progress, &SessionTask::progress);
    json(&SessionTask::has_result, &SessionTask::result);
    json(&SessionTask::has_failure_context, &SessionTask::failure_context);
  });
}

void Writer::Recorded() {
  using Row = Located<SessionError>;
  Write(kInsertErrors, rows_.recorded, [](Columns<Row>& columns) {
    const auto text = [&](auto field) {
      columns.Text([&](const Row& at) { return absl::string_view((at.row->*field)()); });
    };
    columns.Int2([](const Row& at) { return at.partition; });
    text(&SessionError::session_id);
    text(&SessionError::error_id);
    columns.Int2([](const Row& at) { return at.row->category(); });
    columns.Int2([](const Row& at) { return at.row->severity(); });
    text(&SessionError::operation_stage);
    text(&SessionError::related_file_id);
    text(&SessionError::related_ticket_id);
    text(&SessionError::user_message);
    columns.Jsonb([](const Row& at) { return ToJson(at.row->recovery_actions()); });
    columns.Jsonb([](const Row& at) { return ToJson(at.row->technical_details()); });
    text(&SessionError::error_code);
    columns.Time([](const Row& at) { return OptionalTime(true, at.row->create_time()); });
    columns.Time([](const Row& at) {
      return OptionalTime(at.row->has_resolve_time(), at.row->resolve_time());
    });
    text(&SessionError::resolver);
    text(&SessionError::resolution);
  });
}

void Writer::Resolved() {
  using Row = Located<SessionError>;
  Write(kResolveErrors, rows_.resolved, [](Columns<Row>& columns) {
    columns.Int2([](const Row& at) { return at.partition; });
    columns.Text([](const Row& at) { return absl::string_view(at.row->session_id()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->error_id()); });
    columns.Time([](const Row& at) { return OptionalTime(true, at.row->resolve_time()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->resolver()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->resolution()); });
  });
}

void Writer::Messages() {
  using Row = Located<NewMessage>;
  Write(kInsertMessages, rows_.messages, [](Columns<Row>& columns) {
    const auto text = [&](auto field) {
      columns.Text([&](const Row& at) { return absl::string_view((at.row->message.*field)()); });
    };
    columns.Int2([](const Row& at) { return at.partition; });
    text(&v1::SessionMessage::session_id);
    columns.Int4([](const Row& at) { return at.row->message.sequence(); });
    text(&v1::SessionMessage::message_id);
    columns.Bool([](const Row& at) { return at.row->id_brought; });
    text(&v1::SessionMessage::type);
    text(&v1::SessionMessage::content);
    text(&v1::SessionMessage::question_type);
    text(&v1::SessionMessage::author);
    columns.Jsonb([](const Row& at) { return ToJson(at.row->message.metadata()); });
    columns.Time([](const Row& at) { return OptionalTime(true, at.row->message.create_time()); });
  });
}

void Writer::Artifacts() {
  using Row = Located<SessionArtifact>;
  Write(kInsertArtifacts, rows_.artifacts, [](Columns<Row>& columns) {
    columns.Int2([](const Row& at) { return at.partition; });
    columns.Text([](const Row& at) { return absl::string_view(at.row->session_id()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->artifact_id()); });
    columns.Int2([](const Row& at) { return at.row->kind(); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->display_name()); });
    columns.Text([](const Row& at) { return absl::string_view(at.row->uri()); });
    columns.Jsonb([](const Row& at) { return ToJson(at.row->metadata()); });
    columns.Time([](const Row& at) { return OptionalTime(true, at.row->create_time()); });
  });
}

void ArtifactKeys(Columns<ArtifactKey>& columns) {
  columns.Int2([](const ArtifactKey& key) { return key.partition; });
  columns.Text([](const ArtifactKey& key) { return absl::string_view(key.session_id); });
  columns.Text([](const ArtifactKey& key) { return absl::string_view(key.artifact_id); });
}

// Before the new ones: an id may be given anew.
void Writer::DeletedArtifacts() { Write(kDeleteArtifacts, rows_.deleted_artifacts, ArtifactKeys); }

// Before new errors, which have only links that hold.
void Writer::Unlinked() {
  Write(kUnlinkErrors, rows_.deleted_artifacts, ArtifactKeys, /*any=*/true);
}

// -------------------------------------------------------------------------------------------------
// events, ends, requests

void Writer::Events() {
  Write(kInsertEvents, rows_.events, [](Columns<EventRow>& columns) {
    const auto text = [&](auto field) {
      columns.Text([&](const EventRow& row) { return absl::string_view((row.event->*field)()); });
    };
    columns.Int2([](const EventRow& row) { return row.partition; });
    columns.Int8([](const EventRow& row) { return row.position; });
    text(&v1::SessionEvent::session_id);
    columns.Int4([](const EventRow& row) { return row.event->sequence(); });
    columns.Time([](const EventRow& row) { return OptionalTime(true, row.event->event_time()); });
    columns.Int2([](const EventRow& row) { return row.event->type(); });
    columns.Int2([](const EventRow& row) { return row.event->old_state(); });
    columns.Int2([](const EventRow& row) { return row.event->new_state(); });
    text(&v1::SessionEvent::old_stage);
    text(&v1::SessionEvent::new_stage);
    text(&v1::SessionEvent::old_status);
    text(&v1::SessionEvent::new_status);
    columns.Int2([](const EventRow& row) { return row.event->trigger(); });
    text(&v1::SessionEvent::actor);
    text(&v1::SessionEvent::caller);
    text(&v1::SessionEvent::reason);
    text(&v1::SessionEvent::request_id);
    columns.Jsonb([](const EventRow& row) { return ToJson(row.event->changes()); });
    columns.Jsonb([](const EventRow& row) {
      return OptionalJson(row.before->fields_size() > 0, *row.before);
    });
  });
}

// What stays of a session is written before what was there is removed: its tombstone, its errors'
// patterns, its last event.
void Writer::Ended() {
  using Row = EndedSession;
  const auto keys = [](Columns<Row>& columns) {
    columns.Int2([](const Row& row) { return row.partition; });
    columns.Text([](const Row& row) { return absl::string_view(row.session.session_id()); });
  };
  const auto kind = [](Columns<Row>& columns) {
    columns.Text([](const Row& row) { return absl::string_view(row.session.namespace_()); });
    columns.Text([](const Row& row) { return absl::string_view(row.session.workflow()); });
  };
  Write(kInsertTombstones, rows_.ended, [&](Columns<Row>& columns) {
    keys(columns);
    kind(columns);
    columns.Text([](const Row& row) {
      return row.erased ? absl::string_view() : absl::string_view(row.session.owner_id());
    });
    columns.Time([](const Row& row) { return OptionalTime(true, row.session.create_time()); });
    columns.Time([](const Row& row) { return OptionalTime(true, row.session.update_time()); });
  });
  const auto patterns = [&](Columns<Row>& columns) { keys(columns), kind(columns); };
  Write(kKeepErrorPatterns, rows_.ended, patterns, /*any=*/true);
  connection_.Queue(kAllowPurging);
  expected_.push_back({kAllowPurging.name, kAny});
  Write(kPurgeSessionRequests, rows_.ended, keys, /*any=*/true);
  const auto with_sequence = [&](Columns<Row>& columns) {
    keys(columns);
    columns.Int4([](const Row& row) { return row.session.sequence(); });
  };
  Write(kPurgeEvents, rows_.ended, with_sequence, /*any=*/true);
  for (const Statement* purge :
       {&kPurgeTasks, &kPurgeErrors, &kPurgeMessages, &kPurgeArtifacts, &kPurgeSessions}) {
    Write(*purge, rows_.ended, keys, /*any=*/true);
  }
}

void Writer::Requests() {
  Write(kInsertRequests, rows_.requests, [this](Columns<RequestRow>& columns) {
    columns.Int2([](const RequestRow& row) { return row.partition; });
    columns.Uuid([](const RequestRow& row) { return row.request_key; });
    columns.Uuid([](const RequestRow& row) { return row.fingerprint; });
    columns.Text([](const RequestRow& row) { return row.session_id; });
    columns.Text([](const RequestRow& row) { return absl::string_view(row.answer); });
    columns.Time([this](const RequestRow&) { return std::optional<absl::Time>(rows_.now); });
  });
}

}  // namespace

void QueueRows(const GroupRows& rows, const std::vector<int16_t>& partitions,
               Connection& connection, std::vector<Expected>* expected) {
  Writer(rows, partitions, connection, expected).Queue();
}

bool WroteAsExpected(const std::vector<Expected>& expected, const std::vector<Result>& results) {
  bool all = results.size() == expected.size() + 1 && results.back().tag() == "COMMIT";
  for (std::size_t i = 0; all && i < expected.size(); ++i) {
    const int64_t rows = results[i].affected();
    if (expected[i].rows == kAny || expected[i].rows == rows) continue;
    spdlog::critical("{} touched {} rows instead of {}", expected[i].statement, rows,
                     expected[i].rows);
    all = false;
  }
  if (!results.empty() && results.back().tag() != "COMMIT")
    spdlog::critical("a group ended with {}", std::string(results.back().tag()));
  return all;
}

}  // namespace sessiond::db
