// The views of sessions, their events and their look-ups.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

const char* StateColor(v1::Session::State state) {
  switch (state) {
    case v1::Session::CREATING:
      return color::kCyan;
    case v1::Session::ACTIVE:
      return color::kGreen;
    case v1::Session::PAUSED:
      return color::kYellow;
    default:
      return color::kDim;
  }
}

const char* EventColor(v1::SessionEvent::Type type) {
  return type == v1::SessionEvent::FAILED      ? color::kRed
         : type == v1::SessionEvent::COMPLETED ? color::kGreen
                                               : "";
}

const char* StatusColor(const v1::Session& session) {
  return session.has_fail_time() ? color::kRed : session.has_complete_time() ? color::kGreen : "";
}

std::string StateName(v1::Session::State state) {
  return state == v1::Session::STATE_UNSPECIFIED ? "" : v1::Session::State_Name(state);
}

bool IsEmpty(const google::protobuf::Value& value) {
  using google::protobuf::Value;
  switch (value.kind_case()) {
    case Value::kStringValue:
      return value.string_value().empty();
    case Value::kBoolValue:
      return !value.bool_value();
    case Value::kStructValue:
      return value.struct_value().fields().empty();
    default:
      return false;
  }
}

// What an event changed, one fact each: first state and stage, then the fields, then the reason.
std::vector<std::string> FactsOf(const v1::SessionEvent& event) {
  std::vector<std::string> facts;
  const auto moved = [&facts](absl::string_view what, absl::string_view before,
                              absl::string_view after) {
    if (before != after) {
      facts.push_back(absl::StrCat(what, " ", before, before.empty() ? "" : " → ", after));
    }
  };
  moved("state", StateName(event.old_state()), StateName(event.new_state()));
  moved("stage", event.old_stage(), event.new_stage());
  moved("status", event.old_status(), event.new_status());
  for (const auto& [path, value] : Sorted(event.changes().fields())) {
    if (path == "state" || path == "stage" || path == "status") continue;
    if (event.type() == v1::SessionEvent::CREATED && IsEmpty(value)) continue;  // It starts unset.
    facts.push_back(value.has_null_value() ? absl::StrCat(path, " removed")
                                           : absl::StrCat(path, " = ", ValueText(value)));
  }
  if (!event.reason().empty()) facts.push_back(absl::StrCat("reason: ", event.reason()));
  return facts;
}

Card CardOf(const v1::Session& session) {
  Card card;
  card.Add("Session", session.session_id(), color::kBold);
  if (session.namespace_() != "default") card.Add("Namespace", session.namespace_());
  card.Add("Workflow",
           absl::StrCat(session.workflow(), ", revision ", session.workflow_revision()));
  card.Add("Owner",
           session.owner_display_name().empty()
               ? session.owner_id()
               : absl::StrCat(session.owner_id(), " (", session.owner_display_name(), ")"));
  card.Add("State", StateName(session.state()), StateColor(session.state()));
  card.Add("Stage", session.next_stage().empty()
                        ? session.stage()
                        : absl::StrCat(session.stage(), ", next ", session.next_stage()));
  card.Add("Status", session.status(), StatusColor(session));
  if (session.has_fail_time()) {
    card.Add("Failed",
             absl::StrCat(Past(session.fail_time()), session.fail_reason().empty() ? "" : ": ",
                          session.fail_reason()),
             color::kRed);
  }
  if (session.hold()) card.Add("Hold", "held: can be neither deleted nor purged", color::kYellow);
  if (session.has_current_task()) {
    card.Add("Task", TaskInBrief(session.current_task()), TaskColor(session.current_task()));
  }
  if (session.has_blocking_errors()) {
    card.Add("Errors", "blocking ones are not resolved", color::kRed);
  }
  if (session.message_count() != 0) card.Add("Messages", absl::StrCat(session.message_count()));
  card.AddStruct("Context", session.context());
  card.AddMap("Counters", session.counters(), [](int value) { return absl::StrCat(value); });
  const auto as_it_is = [](const std::string& value) { return value; };
  card.AddMap("References", session.references(), as_it_is);
  card.AddMap("Labels", session.labels(), as_it_is);
  card.Add("Created", Past(session.create_time()));
  card.Add("Updated", Past(session.update_time()));
  if (session.has_complete_time()) card.Add("Completed", Past(session.complete_time()));
  if (session.has_delete_time()) card.Add("Deleted", Past(session.delete_time()));
  if (session.has_purge_time()) card.Add("Purge due", Future(session.purge_time()));
  if (session.recoverable()) {
    card.Add("Recoverable", session.has_recover_before_time()
                                ? absl::StrCat("until ", Future(session.recover_before_time()))
                                : "yes");
  }
  card.Add("Events", absl::StrCat(session.sequence(), ", revision ", session.revision()));
  card.Add("Etag", session.etag());
  return card;
}

// A table below a card; nothing for an empty list.
template <class Items, class ToRow>
void PrintBelow(absl::string_view title, const std::vector<Column>& columns, const Items& items,
                ToRow to_row) {
  if (items.empty()) return;
  std::vector<Row> rows;
  for (const auto& item : items) rows.push_back(to_row(item));
  Print(absl::StrCat("\n", title, "\n", FormatTable(columns, rows, /*headings=*/true)));
}

}  // namespace

std::vector<Column> SessionColumns() {
  return {{.name = "SESSION"},
          {.name = "OWNER", .fit = Column::kCut, .goes = 3},
          {.name = "WORKFLOW", .fit = Column::kLeftOut},
          {.name = "STATE"},
          {.name = "STAGE", .fit = Column::kCut, .goes = 1},
          {.name = "STATUS", .goes = 4},
          {.name = "AGE", .right = true, .goes = 2}};
}

Row SessionRow(const v1::Session& session) {
  return {{session.session_id()},      {session.owner_id()},
          {session.workflow()},        {StateName(session.state()), StateColor(session.state())},
          {session.stage()},           {session.status(), StatusColor(session)},
          {Age(session.create_time())}};
}

std::vector<Column> EventColumns() {
  return {{.name = "SEQ", .right = true},
          {.name = "TIME"},
          {.name = "EVENT"},
          {.name = "BY"},
          {.name = "CHANGE"}};
}

std::vector<Row> EventRows(const v1::SessionEvent& event) {
  std::vector<Row> rows = {{{absl::StrCat(event.sequence())},
                            {ShortTime(event.event_time())},
                            {v1::SessionEvent::Type_Name(event.type()), EventColor(event.type())},
                            {event.actor()},
                            {}}};
  const std::vector<std::string> facts = FactsOf(event);
  if (!facts.empty()) rows[0][4].text = facts[0];
  for (std::size_t i = 1; i < facts.size(); ++i) rows.push_back({{}, {}, {}, {}, {facts[i]}});
  return rows;
}

std::vector<Column> LookupColumns() {
  return {{.name = "SESSION"},          {.name = "ANSWER"},
          {.name = "SINCE", .goes = 3}, {.name = "WORKFLOW", .fit = Column::kLeftOut},
          {.name = "STATE", .goes = 2}, {.name = "STATUS", .goes = 1}};
}

Row LookupRow(const v1::SessionLookup& lookup) {
  const v1::Session& session = lookup.session();
  return {{lookup.session_id()},
          {v1::SessionLookup::Reason_Name(lookup.reason()),
           lookup.found() ? color::kGreen : color::kRed},
          {lookup.has_since_time() ? ShortTime(lookup.since_time()) : ""},
          {session.workflow()},
          {StateName(session.state()), StateColor(session.state())},
          {session.status(), StatusColor(session)}};
}

void PrintSession(Format format, const v1::Session& session) {
  PrintOne(format, session, CardOf(session), session.session_id());
  if (format != Format::kTable) return;
  PrintBelow("Files", ArtifactColumns(), session.files(), ArtifactRow);
  PrintBelow("Open errors", ErrorColumns(ErrorsOf::kOneSession), session.open_errors(),
             [](const auto& error) { return ErrorRow(error, ErrorsOf::kOneSession); });
}

void PrintCounts(Format format, absl::string_view group_by,
                 const v1::CountSessionsResponse& counts) {
  if (format == Format::kJson) return Print(ToJson(counts, /*pretty=*/true));
  if (format == Format::kJsonLines) {
    return Print(absl::StrCat(ToJson(counts, /*pretty=*/false), "\n"));
  }
  if (format == Format::kName || counts.groups().empty()) {
    return Print(absl::StrCat(counts.total(), "\n"));
  }
  const std::string heading = absl::AsciiStrToUpper(group_by);
  std::vector<Row> rows;
  for (const auto& group : counts.groups())
    rows.push_back({{group.value()}, {absl::StrCat(group.count())}});
  rows.push_back({{"total", color::kBold}, {absl::StrCat(counts.total()), color::kBold}});
  Print(FormatTable({{.name = heading.c_str()}, {.name = "SESSIONS", .right = true}}, rows,
                    /*headings=*/true));
}

}  // namespace sessiond::ctl
