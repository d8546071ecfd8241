#include "client/legacy/legacy_rows.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "client/legacy/exact_json.h"

namespace sessiond::db {
namespace {

using google::protobuf::Struct;
using google::protobuf::Timestamp;
using google::protobuf::Value;
using v1::Session;
using v1::SessionError;
using v1::SessionTask;

// A larger value of an unused column is a document, not a fact about the session.
constexpr std::size_t kRestBytesMax = 8192;
// The whole rest of a row, so that it fits into the 64 KiB of JSON that a Struct may have.
constexpr std::size_t kRestBytesOfRowMax = 32768;
// A Struct has 16 levels at most, and a row in an event is at the third of them.
constexpr int kRestDepthMax = 12;
// SessionArtifact.display_name.
constexpr std::size_t kNameBytesMax = 256;
// The application, its workers and the database wrote a session's times with different clocks, or
// at slightly different moments. Machines with synchronized clocks differ by less than this.
constexpr absl::Duration kClocksDiffer = absl::Seconds(5);

// ---- words

// The meaning of the old status.
struct Standing {
  Session::State state;
  bool failed = false;
  bool completed = false;
};

template <class T>
struct Word {
  absl::string_view word;
  T means;
  bool says_more = false;  // Than its meaning here does.
};

constexpr bool kSaysMore = true;

constexpr Word<Standing> kStatuses[] = {
    {"active", {Session::ACTIVE}},
    {"in_progress", {Session::ACTIVE}, kSaysMore},
    {"running", {Session::ACTIVE}, kSaysMore},
    {"exporting", {Session::ACTIVE}, kSaysMore},
    {"paused", {Session::PAUSED}},
    {"failed", {Session::ACTIVE, /*failed=*/true}},
    {"completed", {Session::STOPPED, /*failed=*/false, /*completed=*/true}},
    {"stopped", {Session::STOPPED}},
    {"cancelled", {Session::STOPPED}, kSaysMore},
    {"abandoned", {Session::STOPPED}, kSaysMore},
    {"deleted", {Session::DELETED}},
};

constexpr Word<SessionTask::Status> kTaskStatuses[] = {
    {"running", SessionTask::RUNNING},     {"in_progress", SessionTask::RUNNING},
    {"completed", SessionTask::COMPLETED}, {"success", SessionTask::COMPLETED},
    {"failed", SessionTask::FAILED},       {"failure", SessionTask::FAILED},
    {"cancelled", SessionTask::CANCELLED}, {"canceled", SessionTask::CANCELLED},
};

constexpr Word<SessionError::Category> kCategories[] = {
    {"user_fixable", SessionError::USER_FIXABLE},
    {"admin_required", SessionError::ADMIN_REQUIRED},
    {"temporary", SessionError::TEMPORARY},
};

constexpr Word<SessionError::Severity> kSeverities[] = {
    {"blocking", SessionError::BLOCKING},
    {"warning", SessionError::WARNING},
    {"info", SessionError::INFO},
};

constexpr Word<absl::string_view> kMessageTypes[] = {
    {"question", "question"}, {"interviewer", "question"}, {"assistant", "question"},
    {"answer", "answer"},     {"candidate", "answer"},     {"user", "answer"},
};

// In lower case, with _ between the words.
std::string Normalized(absl::string_view word) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StripAsciiWhitespace(word)),
                             {{"-", "_"}, {" ", "_"}});
}

template <class T, std::size_t n>
const Word<T>* FindWord(absl::string_view text, const Word<T> (&words)[n]) {
  const std::string word = Normalized(text);
  const auto known = std::find_if(std::begin(words), std::end(words),
                                  [&word](const Word<T>& one) { return one.word == word; });
  return known == std::end(words) ? nullptr : known;
}

// A field's word as words are written here. What that changes is kept: the original stays in the
// rest.
std::string WordOf(const LegacyRow& row, absl::string_view field) {
  const std::string text = row.Text(field);
  std::string word = Normalized(text);
  if (word != text) row.AlsoKeep(field);
  return word;
}

// The meaning of a field's word; reports an unknown one.
template <class T, std::size_t n>
std::optional<T> Meaning(const LegacyRow& row, absl::string_view field, const Word<T> (&words)[n]) {
  const std::string text = row.Text(field);
  if (const Word<T>* known = FindWord(text, words)) {
    if (known->says_more) row.AlsoKeep(field);
    return known->means;
  }
  row.Refuse(field, text.empty() ? "is empty" : absl::StrCat("\"", text, "\" is not known"));
  return std::nullopt;
}

// ---- values

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

// The UUID of the old row; empty if its id is not one: then a new one is drawn, and the old one
// stays in the rest.
std::string UuidOf(const LegacyRow& row, absl::string_view field) {
  std::string id = LegacyId(row.Text(field));
  if (IsUuid(id)) return id;
  row.AlsoKeep(field);
  return "";
}

// Files and tickets were numbered separately, and share one space of ids here.
std::string ArtifactId(const char* kind, const std::string& id) {
  const bool number = !id.empty() && std::all_of(id.begin(), id.end(), absl::ascii_isdigit);
  return number ? absl::StrCat(kind, "-", id) : LegacyId(id);
}

// RFC 3339; also with a blank for its T, or before its zone, and without its zone.
std::optional<Timestamp> ParseTime(std::string text) {
  if (text.size() > 10 && text[10] == ' ') text[10] = 'T';
  for (const absl::string_view utc : {" UTC", " GMT", " Z"}) {
    if (absl::EndsWith(text, utc)) text.replace(text.size() - utc.size(), utc.size(), "Z");
  }
  if (const std::size_t blank = text.find(' ');
      blank != std::string::npos && blank + 1 < text.size() &&
      (text[blank + 1] == '+' || text[blank + 1] == '-')) {
    text.erase(blank, 1);
  }
  absl::Time time;
  const bool zoned = absl::ParseTime("%Y-%m-%d%ET%H:%M:%E*S%Ez", text, &time, nullptr);
  if (!zoned &&
      !absl::ParseTime("%Y-%m-%d%ET%H:%M:%E*S", text, absl::UTCTimeZone(), &time, nullptr) &&
      !absl::ParseTime("%Y-%m-%d", text, absl::UTCTimeZone(), &time, nullptr)) {
    return std::nullopt;
  }
  const absl::Time first = absl::FromCivil(absl::CivilSecond(1, 1, 1), absl::UTCTimeZone());
  const absl::Time last = absl::FromCivil(absl::CivilSecond(10000, 1, 1), absl::UTCTimeZone());
  if (time < first || time >= last) return std::nullopt;  // The range of a Timestamp.
  Timestamp timestamp;
  timestamp.set_seconds(absl::ToUnixSeconds(time));
  timestamp.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(timestamp.seconds()))));
  return timestamp;
}

// Cut between characters, with … for the omitted part.
std::string CutName(const std::string& name) {
  if (name.size() <= kNameBytesMax) return name;
  std::size_t end = kNameBytesMax - 3;
  while (end > 0 && (name[end] & 0xC0) == 0x80) --end;
  return absl::StrCat(name.substr(0, end), "…");
}

// As in SQL: no exponent for a whole number.
std::string NumberText(double number) {
  constexpr double kExactMax = 9007199254740992;  // 2^53
  if (std::abs(number) <= kExactMax && number == std::trunc(number)) {
    return absl::StrCat(static_cast<int64_t>(number));
  }
  return absl::StrFormat("%.17g", number);
}

// A cell as text; nothing for an object or a list.
std::string TextOf(const LegacyCell& cell) {
  if (!cell.digits.empty()) return cell.digits;
  switch (cell.value.kind_case()) {
    case Value::kNumberValue:
      return NumberText(cell.value.number_value());
    case Value::kBoolValue:
      return cell.value.bool_value() ? "true" : "false";
    default:
      return cell.value.string_value();
  }
}

Value TextValue(absl::string_view text) {
  Value value;
  value.set_string_value(std::string(text));
  return value;
}

// Finer than the times that are stored here.
bool IsFinerThanMicroseconds(absl::string_view text) {
  const std::size_t point = text.find('.');
  if (point == absl::string_view::npos) return false;
  absl::string_view fraction = text.substr(point + 1);
  fraction = fraction.substr(0, fraction.find_first_not_of("0123456789"));
  return fraction.size() > 6 && fraction.find_first_not_of('0', 6) != absl::string_view::npos;
}

bool IsEarlier(const Timestamp& a, const Timestamp& b) {
  return std::make_tuple(a.seconds(), a.nanos()) < std::make_tuple(b.seconds(), b.nanos());
}

// The first time that is set, and its field.
struct Dated {
  absl::string_view field;
  Timestamp time;
};

std::optional<Dated> FirstTime(const LegacyRow& row,
                               std::initializer_list<absl::string_view> fields) {
  for (const absl::string_view field : fields) {
    if (const auto time = row.Time(field)) return Dated{field, *time};
  }
  return std::nullopt;
}

// What a time must follow, or must not exceed.
struct Bound {
  bool given;
  const Timestamp& time;
  const char* name;
};

Bound Created(const Session& session) {
  return {session.has_create_time(), session.create_time(), "the session's beginning"};
}
Bound Completed(const Session& session) {
  return {session.has_complete_time(), session.complete_time(), "the session's completion"};
}
Bound Failed(const Session& session) {
  return {session.has_fail_time(), session.fail_time(), "the session's failure"};
}
Bound Deleted(const Session& session) {
  return {session.has_delete_time(), session.delete_time(), "the session's deletion"};
}

// Corrects a time that is before what it must follow, or after what ends it, by no more than clocks
// differ: takes it for the same time, reports that, and stores the original. The daemon refuses
// larger differences.
void Hold(const LegacyRow& row, absl::string_view field, Timestamp* time,
          std::initializer_list<Bound> after, std::initializer_list<Bound> until,
          absl::Duration at_most = kClocksDiffer) {
  const auto as_time = [](const Timestamp& of) {
    return absl::FromUnixSeconds(of.seconds()) + absl::Nanoseconds(of.nanos());
  };
  const auto hold = [&](const Bound& bound, absl::Duration off, absl::string_view side) {
    if (!bound.given || off <= absl::ZeroDuration() || off > at_most) return;
    row.AlsoKeep(field);
    row.Remark(field, absl::StrCat("lies ", absl::FormatDuration(off), side, bound.name,
                                   ": taken for the same time"));
    *time = bound.time;
  };
  for (const Bound& bound : after) hold(bound, as_time(bound.time) - as_time(*time), " before ");
  for (const Bound& bound : until) hold(bound, as_time(*time) - as_time(bound.time), " behind ");
}

// Sets one of the times of a message, if there is one.
template <class Message>
void Set(Message& message, Timestamp* (Message::*field)(), const std::optional<Timestamp>& time) {
  if (time.has_value()) *(message.*field)() = *time;
}

// The latest time known of a session so far.
Timestamp LastTime(const v1::ImportSessionsRequest& request) {
  Timestamp last = request.session().create_time();
  const auto see = [&last](const Timestamp& time) {
    if (IsEarlier(last, time)) last = time;
  };
  see(request.session().update_time());
  see(request.session().complete_time());
  see(request.session().fail_time());
  for (const auto& time : {request.task().start_time(), request.task().complete_time(),
                           request.task().fail_time(), request.task().cancel_time()}) {
    see(time);
  }
  for (const auto& error : request.errors()) {
    see(error.create_time());
    see(error.resolve_time());
  }
  for (const auto& artifact : request.artifacts()) see(artifact.create_time());
  for (const auto& message : request.messages()) see(message.create_time());
  return last;
}

// ---- parts

// Unused columns are added to the session's history.
void KeepRest(const LegacyRow& row, v1::ImportSessionsRequest& request) {
  Struct rest = row.Rest();
  const LegacyPart part = row.table().part;
  const std::string id = part == LegacyPart::kSession ? "" : row.Look("id");
  const bool only_here = part == LegacyPart::kTask && !id.empty();
  if (rest.fields().empty() && !only_here) return;
  auto& event = *request.add_events()->mutable_fields();
  event["table"] = TextValue(row.table().name);
  if (part != LegacyPart::kSession) event["id"] = TextValue(id);
  if (!rest.fields().empty()) *event["row"].mutable_struct_value() = std::move(rest);
}

// Context fields that the old table had as columns.
constexpr const char* kContextFields[] = {"site_name", "site_description", "jira_project_key",
                                          "llm_provider_choice"};

// The session's state according to its own row, and when it ended.
void SetStanding(LegacyLayout layout, const LegacyRow& row, Session& session) {
  Standing standing = {Session::ACTIVE};
  if (row.Find("status") != nullptr) {
    const auto known = Meaning(row, "status", kStatuses);
    if (!known.has_value()) return;
    standing = *known;
  }
  if (row.Find("complete_time") != nullptr && layout != LegacyLayout::kExecution) {
    if (standing.state != Session::DELETED) standing.state = Session::STOPPED;
    standing.completed = true;
  }
  if (layout == LegacyLayout::kExecution) standing.completed = false;  // It has no stages.
  if (row.Find("delete_time") != nullptr || row.Bool("is_deleted")) {
    standing.state = Session::DELETED;
  }
  session.set_state(standing.state);
  const auto ended = [&](const char* field, std::initializer_list<Bound> after) {
    auto time = row.Time(field);
    if (time.has_value()) Hold(row, field, &*time, after, {});
    return time;
  };
  if (standing.completed) {
    session.set_stage("completed");
    Set(session, &Session::mutable_complete_time, ended("complete_time", {Created(session)}));
  } else {
    session.set_stage(WordOf(row, "stage"));
  }
  if (standing.failed) {
    Set(session, &Session::mutable_fail_time, ended("fail_time", {Created(session)}));
    session.set_fail_reason(row.Text("fail_reason"));
  }
  if (standing.state == Session::DELETED) {
    Set(session, &Session::mutable_delete_time,
        ended("delete_time", {Created(session), Completed(session), Failed(session)}));
  }
}

// What ended at an unknown time ended at the latest known time.
void SetUnknownEnds(LegacyLayout layout, const LegacyRow& row, v1::ImportSessionsRequest& request) {
  Session& session = *request.mutable_session();
  const auto last = [&]() -> std::optional<Timestamp> {
    const Timestamp time = LastTime(request);
    const bool deleted = session.has_delete_time() && IsEarlier(session.delete_time(), time);
    return deleted ? session.delete_time() : time;
  };
  const Word<Standing>* known = FindWord(row.Look("status"), kStatuses);
  const bool completed =
      known != nullptr && known->means.completed && layout != LegacyLayout::kExecution;
  if (completed && !session.has_complete_time()) {
    Set(session, &Session::mutable_complete_time, last());
  }
  if (known != nullptr && known->means.failed && !session.has_fail_time()) {
    Set(session, &Session::mutable_fail_time, last());
  }
  if (session.state() == Session::DELETED && !session.has_delete_time()) {
    Set(session, &Session::mutable_delete_time, last());
  }
}

// The rest of the session's own row comes before that of all others.
void KeepRestOfSession(const LegacyRow& row, v1::ImportSessionsRequest& request) {
  const int before = request.events_size();
  KeepRest(row, request);
  if (request.events_size() == before) return;
  for (int i = before; i > 0; --i) request.mutable_events()->SwapElements(i, i - 1);
}

void AddSession(LegacyLayout layout, const LegacyRow& row, v1::ImportSessionsRequest& request) {
  Session& session = *request.mutable_session();
  session.set_session_id(LegacyId(row.Text("session_id")));
  session.set_workflow(layout == LegacyLayout::kTicketExport ? "ticket_export"
                       : layout == LegacyLayout::kExecution  ? "execution"
                                                             : "interview");
  session.set_owner_id(row.Text("owner_id"));
  session.set_owner_display_name(row.Text("owner_display_name"));
  if (layout == LegacyLayout::kTicketExport && session.owner_display_name().empty()) {
    session.set_owner_display_name(session.owner_id());
  }
  Set(session, &Session::mutable_create_time, row.RequiredTime("create_time"));
  Set(session, &Session::mutable_update_time, row.Time("update_time"));
  row.AlsoKeep("update_time");  // The daemon's own starts with the import.
  for (const char* field : kContextFields) {
    if (const std::string text = row.Text(field); !text.empty()) {
      (*session.mutable_context()->mutable_fields())[field] = TextValue(text);
    }
  }
  for (const char* counter : {"total_tickets_generated", "current_question_number"}) {
    if (const auto count = row.Count(counter)) (*session.mutable_counters())[counter] = *count;
  }
  if (const std::string posting = row.Text("job_posting"); !posting.empty()) {
    (*session.mutable_references())["job_posting"] = posting;
  }
  SetStanding(layout, row, session);
}

void AddTask(const LegacyRow& row, v1::ImportSessionsRequest& request) {
  SessionTask& task = *request.mutable_task();
  task.set_task_type(WordOf(row, "task_type"));
  task.set_task_id(UuidOf(row, "task_id"));
  row.Text("id");  // Each session has one task, without an id of its own: KeepRest has that.
  if (const auto status = Meaning(row, "status", kTaskStatuses)) task.set_status(*status);
  const Session& session = request.session();
  const auto until = {Completed(session), Failed(session), Deleted(session)};
  if (auto start = row.RequiredTime("start_time")) {
    Hold(row, "start_time", &*start, {Created(session)}, until);
    *task.mutable_start_time() = *start;
  }
  // The time of its end, or else of its last update, or else of its start: that is our own guess
  // then, and is corrected however far it is off.
  const auto end = [&](absl::string_view field) -> std::optional<Timestamp> {
    auto end = FirstTime(row, {field, "update_time"});
    if (!end.has_value()) {
      return task.has_start_time() ? std::optional(task.start_time()) : std::nullopt;
    }
    Hold(row, end->field, &end->time,
         {{task.has_start_time(), task.start_time(), "the task's start"}, Created(session)}, until,
         end->field == field ? kClocksDiffer : absl::InfiniteDuration());
    return end->time;
  };
  switch (task.status()) {
    case SessionTask::COMPLETED:
      Set(task, &SessionTask::mutable_complete_time, end("complete_time"));
      break;
    case SessionTask::FAILED:
      Set(task, &SessionTask::mutable_fail_time, end("fail_time"));
      break;
    case SessionTask::CANCELLED:
      Set(task, &SessionTask::mutable_cancel_time, end("cancel_time"));
      break;
    default:
      break;
  }
  task.set_retry_count(row.Count("retry_count").value_or(0));
  if (auto progress = row.Object("progress", "percent")) *task.mutable_progress() = *progress;
  if (auto result = row.Object("result", "result")) *task.mutable_result() = *result;
  if (auto context = row.Object("failure_context", "message")) {
    *task.mutable_failure_context() = *context;
  }
  KeepRest(row, request);
}

// Without a time of its own it is as old as its session.
void SetCreateTime(const LegacyRow& row, const Session& session, std::initializer_list<Bound> until,
                   Timestamp* create_time) {
  if (const auto time = row.Time("create_time")) {
    *create_time = *time;
    Hold(row, "create_time", create_time, {Created(session)}, until);
  } else if (session.has_create_time()) {
    *create_time = session.create_time();
  }
  if (row.IsNull("create_time")) {
    row.Remark("create_time", "is null: it is as old as its session here");
  }
}

// `{"actions": […]}`, or the list alone.
void AddRecoveryActions(const LegacyRow& row, SessionError& error) {
  const auto json = row.Json("recovery_actions");
  if (!json.has_value()) return;
  const Value* list = &*json;
  if (json->has_struct_value()) {
    const auto actions = json->struct_value().fields().find("actions");
    if (actions == json->struct_value().fields().end()) {
      return row.Refuse("recovery_actions", "has no \"actions\"");
    }
    list = &actions->second;
  }
  if (list->has_null_value()) return;
  if (!list->has_list_value()) return row.Refuse("recovery_actions", "is no list");
  for (const Value& action : list->list_value().values()) {
    if (action.kind_case() != Value::kStringValue) {
      return row.Refuse("recovery_actions", "has an action that is no text");
    }
    error.add_recovery_actions(action.string_value());
  }
}

void AddError(const LegacyRow& row, v1::ImportSessionsRequest& request) {
  SessionError& error = *request.add_errors();
  error.set_error_id(UuidOf(row, "id"));
  if (const auto category = Meaning(row, "category", kCategories)) error.set_category(*category);
  if (const auto severity = Meaning(row, "severity", kSeverities)) error.set_severity(*severity);
  error.set_operation_stage(WordOf(row, "operation_stage"));
  if (const std::string file = row.Text("related_file_id"); !file.empty()) {
    error.set_related_file_id(ArtifactId("file", file));
  }
  if (const std::string ticket = row.Text("related_ticket_id"); !ticket.empty()) {
    error.set_related_ticket_id(ArtifactId("ticket", ticket));
  }
  error.set_user_message(row.Text("user_message"));
  AddRecoveryActions(row, error);
  if (auto details = row.Object("technical_details", "details")) {
    *error.mutable_technical_details() = *details;
  }
  error.set_error_code(row.Text("error_code"));
  const Session& session = request.session();
  SetCreateTime(row, session, {Deleted(session)}, error.mutable_create_time());
  if (row.Find("resolve_time") != nullptr || row.Bool("is_resolved")) {
    if (auto resolved = FirstTime(row, {"resolve_time", "update_time"})) {
      const bool guessed = resolved->field == "update_time";
      Hold(row, resolved->field, &resolved->time,
           {{true, error.create_time(), "when it was recorded"}}, {Deleted(session)},
           guessed ? absl::InfiniteDuration() : kClocksDiffer);
      *error.mutable_resolve_time() = resolved->time;
    } else {
      *error.mutable_resolve_time() = error.create_time();
    }
    error.set_resolver(row.Text("resolver"));
    error.set_resolution(row.Text("resolution"));
  }
  KeepRest(row, request);
}

void AddArtifact(const LegacyRow& row, const char* kind, v1::ImportSessionsRequest& request) {
  v1::SessionArtifact& artifact = *request.add_artifacts();
  artifact.set_kind(row.table().part == LegacyPart::kFile ? v1::SessionArtifact::FILE
                                                          : v1::SessionArtifact::TICKET);
  artifact.set_artifact_id(ArtifactId(kind, row.Text("id")));
  const std::string name = row.Text("display_name");
  artifact.set_display_name(CutName(name));
  artifact.set_uri(row.Text("uri"));
  const Session& session = request.session();
  SetCreateTime(row, session, {Completed(session), Deleted(session)},
                artifact.mutable_create_time());
  Struct metadata = row.Rest();
  if (name != artifact.display_name()) {
    const char* key = metadata.fields().count("name") == 0 ? "name" : "display_name";
    (*metadata.mutable_fields())[key] = TextValue(name);
  }
  if (!metadata.fields().empty()) *artifact.mutable_metadata() = std::move(metadata);
}

void AddMessage(const LegacyRow& row, v1::ImportSessionsRequest& request) {
  v1::SessionMessage& message = *request.add_messages();
  message.set_message_id(UuidOf(row, "id"));
  if (const auto type = Meaning(row, "type", kMessageTypes)) message.set_type(std::string(*type));
  message.set_content(row.Text("content"));
  message.set_question_type(WordOf(row, "question_type"));
  message.set_author(row.Text("author"));
  if (auto time = row.RequiredTime("create_time")) {
    const Session& session = request.session();
    Hold(row, "create_time", &*time, {Created(session)},
         {Completed(session), Failed(session), Deleted(session)});
    *message.mutable_create_time() = *time;
  }
  Struct metadata = row.Rest();
  if (!metadata.fields().empty()) *message.mutable_metadata() = std::move(metadata);
}

// ---- layouts

std::vector<LegacyTable> TicketExportTables() {
  return {
      {"sessions",
       LegacyPart::kSession,
       {{"session_id", {"id", "session_id"}, true},
        {"owner_id", {"jira_user_id", "user_id", "owner_id"}, true},
        {"owner_display_name", {"jira_display_name", "user_display_name", "display_name"}},
        {"status", {"status"}, true},
        {"stage", {"current_stage", "stage"}, true},
        {"site_name", {"site_name"}},
        {"site_description", {"site_description"}},
        {"jira_project_key", {"jira_project_key"}},
        {"llm_provider_choice", {"llm_provider_choice", "llm_provider"}},
        {"total_tickets_generated", {"total_tickets_generated"}},
        {"create_time", {"created_at"}, true},
        {"update_time", {"updated_at"}},
        {"complete_time", {"completed_at"}},
        {"fail_time", {"failed_at"}},
        {"fail_reason", {"failure_reason", "error_message"}},
        {"delete_time", {"deleted_at"}},
        {"is_deleted", {"is_deleted"}}}},
      {"session_tasks",
       LegacyPart::kTask,
       {{"session_id", {"session_id"}, true},
        {"start_time", {"started_at", "created_at"}, true},
        {"id", {"id"}},
        {"task_type", {"task_type"}, true},
        {"task_id", {"task_id", "celery_task_id"}},
        {"status", {"status"}, true},
        {"update_time", {"updated_at"}},
        {"complete_time", {"completed_at"}},
        {"fail_time", {"failed_at"}},
        {"cancel_time", {"cancelled_at"}},
        {"retry_count", {"retry_count"}},
        {"progress", {"progress"}},
        {"result", {"result"}},
        {"failure_context", {"failure_context", "error_context", "error_message"}}}},
      {"uploaded_files",
       LegacyPart::kFile,
       {{"session_id", {"session_id"}, true},
        {"create_time", {"uploaded_at", "created_at"}},
        {"id", {"id"}, true},
        {"display_name", {"original_filename", "filename", "file_name", "name"}},
        {"uri", {"file_path", "storage_path", "uri", "url"}}}},
      {"tickets",
       LegacyPart::kTicket,
       {{"session_id", {"session_id"}, true},
        {"create_time", {"created_at"}},
        {"id", {"id"}, true},
        {"display_name", {"title", "summary", "name"}},
        {"uri", {"jira_url", "url"}}}},
      {"session_errors",
       LegacyPart::kError,
       {{"session_id", {"session_id"}, true},
        {"create_time", {"created_at"}},
        {"id", {"id"}},
        {"category", {"error_category", "category"}, true},
        {"severity", {"severity", "error_severity"}, true},
        {"operation_stage", {"operation_stage", "stage"}},
        {"related_file_id", {"related_file_id"}},
        {"related_ticket_id", {"related_ticket_id"}},
        {"user_message", {"user_message"}, true},
        {"recovery_actions", {"recovery_actions"}},
        {"technical_details", {"technical_details"}},
        {"error_code", {"error_code"}},
        {"update_time", {"updated_at"}},
        {"resolve_time", {"resolved_at"}},
        {"is_resolved", {"is_resolved", "resolved"}},
        {"resolver", {"resolved_by"}},
        {"resolution", {"resolution", "resolution_notes"}}}},
  };
}

std::vector<LegacyTable> ExecutionTables() {
  return {{"sessions",
           LegacyPart::kSession,
           {{"session_id", {"session_id", "id"}, true},
            {"owner_id", {"user_id", "owner_id"}},
            {"owner_display_name", {"user_name", "display_name"}},
            {"status", {"state", "status"}},
            {"create_time", {"created_at"}, true},
            {"update_time", {"updated_at"}},
            {"delete_time", {"deleted_at"}},
            {"is_deleted", {"is_deleted"}}}}};
}

std::vector<LegacyTable> InterviewTables() {
  return {{"interview_sessions",
           LegacyPart::kSession,
           {{"session_id", {"id", "session_id"}, true},
            {"owner_id", {"user_id", "owner_id"}, true},
            {"owner_display_name", {"user_name", "display_name"}},
            {"status", {"status"}, true},
            {"current_question_number", {"current_question_number"}},
            {"job_posting", {"job_posting_id"}},
            {"create_time", {"created_at", "started_at"}, true},
            {"update_time", {"updated_at"}},
            {"complete_time", {"completed_at", "ended_at"}},
            {"delete_time", {"deleted_at"}},
            {"is_deleted", {"is_deleted"}}}},
          {"session_messages",
           LegacyPart::kMessage,
           {{"session_id", {"session_id", "interview_session_id"}, true},
            {"create_time", {"created_at", "timestamp"}, true},
            {"id", {"id"}, true},
            {"type", {"message_type", "type", "role"}, true},
            {"content", {"content"}, true},
            {"question_type", {"question_type"}},
            {"author", {"author"}}}}};
}

}  // namespace

const std::vector<LegacyTable>& TablesOf(LegacyLayout layout) {
  static const std::vector<LegacyTable> ticket_export = TicketExportTables();
  static const std::vector<LegacyTable> execution = ExecutionTables();
  static const std::vector<LegacyTable> interview = InterviewTables();
  return layout == LegacyLayout::kTicketExport ? ticket_export
         : layout == LegacyLayout::kExecution  ? execution
                                               : interview;
}

// ---- LegacyRow

LegacyRow::LegacyRow(const LegacyTable& table, const std::map<std::string, std::string>& columns,
                     std::map<std::string, LegacyCell> cells, LegacyFindings& findings)
    : table_(&table), columns_(&columns), findings_(&findings), cells_(std::move(cells)) {
  std::set<std::string> fields;
  for (const auto& [field, column] : columns) fields.insert(column);
  taken_.insert(columns.at("session_id"));
  for (const auto& [column, cell] : cells_) {
    if (cell.digits.empty()) TellChanges(column, cell);
    if (cell.unreadable.empty()) continue;
    auto& what = fields.count(column) > 0 ? findings.problems : findings.remarks;
    what.push_back(absl::StrCat(Place(column), " ", cell.unreadable));
  }
}

const LegacyCell* LegacyRow::Cell(absl::string_view field) const {
  const auto column = columns_->find(std::string(field));
  if (column == columns_->end()) return nullptr;
  const auto cell = cells_.find(column->second);
  if (cell == cells_.end() || !cell->second.unreadable.empty()) return nullptr;
  return cell->second.value.has_null_value() ? nullptr : &cell->second;
}

const Value* LegacyRow::Find(absl::string_view field) const {
  const LegacyCell* cell = Cell(field);
  return cell == nullptr ? nullptr : &cell->value;
}

std::string LegacyRow::Look(absl::string_view field) const {
  const LegacyCell* cell = Cell(field);
  return cell == nullptr ? "" : TextOf(*cell);
}

const Value* LegacyRow::Take(absl::string_view field) const {
  const Value* value = Find(field);
  if (value != nullptr) taken_.insert(ColumnOf(field));
  return value;
}

std::string LegacyRow::Text(absl::string_view field) const {
  const Value* value = Take(field);
  if (value == nullptr) return "";
  if (value->has_struct_value() || value->has_list_value()) {
    Refuse(field, "is no text");
    return "";
  }
  return Look(field);
}

std::optional<Timestamp> LegacyRow::Time(absl::string_view field) const {
  if (Find(field) == nullptr) return std::nullopt;
  const std::string text = Text(field);
  auto time = ParseTime(text);
  if (!time.has_value()) Refuse(field, absl::StrCat("\"", text, "\" is no time"));
  if (IsFinerThanMicroseconds(text)) AlsoKeep(field);
  return time;
}

std::optional<Timestamp> LegacyRow::RequiredTime(absl::string_view field) const {
  if (IsNull(field)) Refuse(field, "is null");
  return Time(field);
}

std::optional<int32_t> LegacyRow::Count(absl::string_view field) const {
  if (Find(field) == nullptr) return std::nullopt;
  const std::string text = Text(field);
  int32_t count;
  if (absl::SimpleAtoi(text, &count)) return count;
  Refuse(field, absl::StrCat("\"", text, "\" is no whole number of 32 bits"));
  return std::nullopt;
}

bool LegacyRow::Bool(absl::string_view field) const {
  bool value = false;
  if (Find(field) == nullptr) return false;
  const std::string text = Text(field);
  if (!absl::SimpleAtob(text, &value)) {
    Refuse(field, absl::StrCat("\"", text, "\" is neither true nor false"));
  }
  return value;
}

std::optional<Value> LegacyRow::Json(absl::string_view field) const {
  const Value* value = Take(field);
  if (value == nullptr) return std::nullopt;
  if (value->kind_case() != Value::kStringValue) return *value;
  if (absl::StripAsciiWhitespace(value->string_value()).empty()) return std::nullopt;
  auto json = ParseExactJson(value->string_value(), kStructLevelsMax);
  if (!json.ok()) {
    Refuse(field, json.status().message());
    return std::nullopt;
  }
  for (const std::string& change : json->changes) {
    findings_->remarks.push_back(Changed(ColumnOf(field), change));
  }
  if (json->value.has_null_value()) return std::nullopt;
  return std::move(json->value);
}

std::optional<Struct> LegacyRow::Object(absl::string_view field, const char* key) const {
  const Value* value = Take(field);
  if (value == nullptr) return std::nullopt;
  if (const LegacyCell& cell = *Cell(field); !cell.digits.empty()) {
    TellChanges(ColumnOf(field), cell);
  }
  std::optional<Value> json = *value;
  // In a text column, only a value that begins like an object is parsed as one.
  if (value->kind_case() == Value::kStringValue) {
    const absl::string_view text = absl::StripAsciiWhitespace(value->string_value());
    if (text.empty()) return std::nullopt;
    if (absl::StartsWith(text, "{")) json = Json(field);
  }
  if (!json.has_value()) return std::nullopt;
  if (json->has_struct_value()) return std::move(*json->mutable_struct_value());
  Struct object;
  (*object.mutable_fields())[key] = *std::move(json);
  return object;
}

std::string LegacyRow::ColumnOf(absl::string_view field) const {
  const auto column = columns_->find(std::string(field));
  return column == columns_->end() ? std::string(field) : column->second;
}

bool LegacyRow::IsNull(absl::string_view field) const {
  const auto column = columns_->find(std::string(field));
  return column != columns_->end() && cells_.count(column->second) == 0;
}

std::string LegacyRow::Place(absl::string_view column) const {
  // Not Text: an unreadable value must not be read again for its own report.
  const std::string id = table_->part == LegacyPart::kSession ? "" : Look("id");
  const std::string which = id.empty() ? "" : absl::StrCat(" ", id);
  return absl::StrCat(table_->name, which, ": ", column);
}

std::string LegacyRow::Changed(absl::string_view column, absl::string_view change) const {
  // After a path, unless it is the whole value.
  const bool whole = change.find(": ") == absl::string_view::npos;
  return absl::StrCat(Place(column), whole ? " " : change[0] == '[' ? "" : ".", change);
}

void LegacyRow::TellChanges(absl::string_view column, const LegacyCell& cell) const {
  for (const std::string& change : cell.changes) {
    findings_->remarks.push_back(Changed(column, change));
  }
}

void LegacyRow::Refuse(absl::string_view field, absl::string_view why) const {
  findings_->problems.push_back(absl::StrCat(Place(ColumnOf(field)), " ", why));
}

void LegacyRow::Remark(absl::string_view field, absl::string_view what) const {
  findings_->remarks.push_back(absl::StrCat(Place(ColumnOf(field)), " ", what));
}

Struct LegacyRow::Rest() const {
  Struct rest;
  std::size_t bytes = 0;
  for (const auto& [column, cell] : cells_) {
    if (taken_.count(column) > 0 || !cell.unreadable.empty()) continue;
    if (cell.value.has_null_value()) continue;
    const std::size_t size = cell.value.ByteSizeLong() + column.size();
    const bool fits = size <= kRestBytesMax && bytes + size <= kRestBytesOfRowMax;
    if (fits && cell.depth <= kRestDepthMax) {
      (*rest.mutable_fields())[column] = cell.value;
      if (!cell.digits.empty()) TellChanges(column, cell);
      bytes += size;
      continue;
    }
    findings_->remarks.push_back(
        absl::StrCat(Place(column),
                     fits ? absl::StrCat(" is nested deeper than ", kRestDepthMax, " levels")
                          : absl::StrCat(" has ", cell.value.ByteSizeLong(),
                                         " bytes, which is more than there "
                                         "is room for beside the session"),
                     ": not taken over"));
  }
  return rest;
}

// ---- sessions

namespace {

// The position of a row among those of its table: by time, then by id, numbers as numbers.
// Unreadable values are reported elsewhere.
struct Place {
  Timestamp time;
  std::optional<int64_t> number;
  std::string id;
};

Place PlaceOf(const LegacyRow& row) {
  const char* field = row.table().part == LegacyPart::kTask ? "start_time" : "create_time";
  Place place{.time = ParseTime(row.Look(field)).value_or(Timestamp()), .id = row.Look("id")};
  int64_t number;
  if (absl::SimpleAtoi(place.id, &number)) place.number = number;
  return place;
}

bool IsBefore(const Place& a, const Place& b) {
  if (IsEarlier(a.time, b.time) || IsEarlier(b.time, a.time)) return IsEarlier(a.time, b.time);
  return std::tie(a.number, a.id) < std::tie(b.number, b.id);
}

void AddLegacyRow(LegacyLayout layout, const LegacyRow& row, v1::ImportSessionsRequest& request) {
  switch (row.table().part) {
    case LegacyPart::kSession:
      return AddSession(layout, row, request);
    case LegacyPart::kTask:
      return AddTask(row, request);
    case LegacyPart::kError:
      return AddError(row, request);
    case LegacyPart::kFile:
      return AddArtifact(row, "file", request);
    case LegacyPart::kTicket:
      return AddArtifact(row, "ticket", request);
    case LegacyPart::kMessage:
      return AddMessage(row, request);
  }
}

}  // namespace

void AddLegacyRows(LegacyLayout layout, const std::vector<LegacyRow>& rows,
                   v1::ImportSessionsRequest& request) {
  std::vector<std::pair<Place, const LegacyRow*>> placed;
  for (const LegacyRow& row : rows) placed.emplace_back(PlaceOf(row), &row);
  std::stable_sort(placed.begin(), placed.end(),
                   [](const auto& a, const auto& b) { return IsBefore(a.first, b.first); });
  for (const auto& [place, row] : placed) {
    // A session has one task: the one that was started last. Earlier ones are history.
    if (row->table().part == LegacyPart::kTask && row != placed.back().second) {
      row->RequiredTime("start_time");
      row->AlsoKeep("start_time");
      KeepRest(*row, request);
    } else {
      AddLegacyRow(layout, *row, request);
    }
  }
}

void CompleteLegacySession(LegacyLayout layout, const LegacyRow& row,
                           v1::ImportSessionsRequest& request) {
  SetUnknownEnds(layout, row, request);
  KeepRestOfSession(row, request);
  auto& counters = *request.mutable_session()->mutable_counters();
  if (layout != LegacyLayout::kInterview || counters.count("current_question_number") > 0) return;
  counters["current_question_number"] = static_cast<int32_t>(std::count_if(
      request.messages().begin(), request.messages().end(),
      [](const v1::SessionMessage& message) { return message.type() == "question"; }));
}

std::string LegacyId(absl::string_view id) {
  std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(id));
  const bool bare =
      lower.size() == 32 && std::all_of(lower.begin(), lower.end(), absl::ascii_isxdigit);
  if (bare) {
    for (const int dash : {8, 13, 18, 23}) lower.insert(static_cast<std::size_t>(dash), 1, '-');
  }
  return IsUuid(lower) ? lower : std::string(id);
}

}  // namespace sessiond::db
