#include "client/sessionctl/output.h"

#include <libsmartcols/libsmartcols.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/util/json_util.h"

namespace sessiond::ctl {
namespace {

constexpr char kGap[] = "  ";
// Lets a list of sessions fit 80 columns, the narrowest terminal that is common.
constexpr std::size_t kCutWidthMin = 7;

// In characters. One that takes two columns, or none, makes a table a little uneven, and nothing
// worse.
std::size_t WidthOf(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

std::string Cut(absl::string_view text, std::size_t width) {
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end) {
    if ((text[end] & 0xC0) != 0x80 && seen++ == width - 1) break;
  }
  return absl::StrCat(text.substr(0, end), "…");
}

// The width of each column, 0 for those left out, so that all fit `width_max` if that is possible
// at all.
std::vector<std::size_t> FitWidths(const std::vector<Column>& columns, const std::vector<Row>& rows,
                                   std::size_t width_max) {
  std::vector<std::size_t> widths;
  for (const Column& column : columns) widths.push_back(WidthOf(column.name));
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], WidthOf(row[i].text));
  }
  const auto too_wide = [&] {
    std::size_t width = 0;
    for (const std::size_t column : widths) width += column == 0 ? 0 : column + std::strlen(kGap);
    return width > width_max + std::strlen(kGap);
  };
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (too_wide() && columns[i].fit == Column::kLeftOut) widths[i] = 0;
  }
  while (too_wide()) {
    std::size_t* widest = nullptr;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].fit == Column::kCut && (widest == nullptr || widths[i] > *widest)) {
        widest = &widths[i];
      }
    }
    if (widest == nullptr || *widest <= kCutWidthMin) break;
    --*widest;
  }
  return widths;
}

// Lays out a table for the width of the terminal, or as wide as it takes where there is none.
std::string FormatTable(const std::vector<Column>& columns, const std::vector<Row>& rows,
                        bool headings) {
  std::unique_ptr<libscols_table, decltype(&scols_unref_table)> table(scols_new_table(),
                                                                      &scols_unref_table);
  const bool terminal = isatty(STDOUT_FILENO);
  const bool colored = Colored(stdout);
  scols_table_set_termforce(
      table.get(), SCOLS_TERMFORCE_NEVER);  // What is too wide still is not cut in silence.
  scols_table_enable_colors(table.get(), colored);
  scols_table_enable_noheadings(table.get(), !headings);
  scols_table_set_column_separator(table.get(), kGap);
  const auto widths = FitWidths(columns, rows,
                                terminal ? scols_table_get_termwidth(table.get())
                                         : std::numeric_limits<std::size_t>::max() / 2);

  for (std::size_t i = 0; i < columns.size(); ++i) {
    const int flags =
        (columns[i].right ? SCOLS_FL_RIGHT : 0) | (widths[i] == 0 ? SCOLS_FL_HIDDEN : 0);
    libscols_column* column = scols_table_new_column(table.get(), columns[i].name, 0, flags);
    if (colored) scols_cell_set_color(scols_column_get_header(column), color::kBold);
  }
  for (const Row& row : rows) {
    libscols_line* line = scols_table_new_line(table.get(), nullptr);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool cut = columns[i].fit == Column::kCut && WidthOf(row[i].text) > widths[i];
      scols_line_set_data(line, i, cut ? Cut(row[i].text, widths[i]).c_str() : row[i].text.c_str());
      if (colored && *row[i].color != '\0') {
        scols_cell_set_color(scols_line_get_cell(line, i), row[i].color);
      }
    }
  }
  char* text = nullptr;
  scols_print_table_to_string(table.get(), &text);
  std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
  return text == nullptr ? "" : absl::StrCat(text, "\n");
}

// Pretty-printed JSON, one level further in, without the newline at its end.
std::string Indented(absl::string_view json) {
  return absl::StrReplaceAll(absl::StripTrailingAsciiWhitespace(json), {{"\n", "\n "}});
}

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::string ShortTime(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", TimeOf(time), absl::UTCTimeZone());
}

// 12s, 5m, 3h, 2d: the largest unit alone.
std::string ShortDuration(absl::Duration duration) {
  if (duration < absl::Minutes(1)) return absl::StrCat(absl::ToInt64Seconds(duration), "s");
  if (duration < absl::Hours(1)) return absl::StrCat(absl::ToInt64Minutes(duration), "m");
  if (duration < absl::Hours(48)) return absl::StrCat(absl::ToInt64Hours(duration), "h");
  return absl::StrCat(absl::ToInt64Hours(duration) / 24, "d");
}

// The clocks of here and there may differ: what seems to lie a little in the future has just
// happened.
std::string Age(const google::protobuf::Timestamp& since) {
  return ShortDuration(std::max(absl::Now() - TimeOf(since), absl::ZeroDuration()));
}

std::string Past(const google::protobuf::Timestamp& time) {
  return absl::StrCat(ShortTime(time), " (", Age(time), " ago)");
}

std::string Future(const google::protobuf::Timestamp& time) {
  const absl::Duration left = absl::Ceil(TimeOf(time) - absl::Now(), absl::Minutes(1));
  return absl::StrCat(ShortTime(time), left > absl::ZeroDuration()
                                           ? absl::StrCat(" (in ", ShortDuration(left), ")")
                                           : "");
}

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

// By key: a map of Protobuf's has no order of its own.
template <class Map>
std::map<std::string, typename Map::mapped_type> Sorted(const Map& map) {
  return {map.begin(), map.end()};
}

std::string ValueText(const google::protobuf::Value& value) {
  return ToJson(value, /*pretty=*/false);
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

// What an event changed, a fact each: where the session moved, then the fields, then why.
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
    if (event.type() == v1::SessionEvent::CREATED && IsEmpty(value)) continue;  // It began without.
    facts.push_back(value.has_null_value() ? absl::StrCat(path, " removed")
                                           : absl::StrCat(path, " = ", ValueText(value)));
  }
  if (!event.reason().empty()) facts.push_back(absl::StrCat("reason: ", event.reason()));
  return facts;
}

// The rows of a card: a label, and what stands beside it.
class Card {
 public:
  // Nothing at all for an empty text.
  void Add(absl::string_view label, absl::string_view text, const char* color = "") {
    if (!text.empty()) {
      rows_.push_back({{std::string(label), color::kDim}, {std::string(text), color}});
    }
  }
  // One line per key, the label before the first.
  template <class Map, class ToText>
  void AddMap(absl::string_view label, const Map& map, ToText to_text) {
    for (const auto& [key, value] : Sorted(map)) {
      rows_.push_back(
          {{std::string(label), color::kDim}, {absl::StrCat(key, " = ", to_text(value))}});
      label = "";
    }
  }
  std::string Format() const {
    return FormatTable({{.name = "FIELD"}, {.name = "VALUE"}}, rows_, /*headings=*/false);
  }

 private:
  std::vector<Row> rows_;
};

std::string CardOf(const v1::Session& session) {
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
  card.AddMap("Context", session.context().fields(), ValueText);
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
  return card.Format();
}

}  // namespace

void Print(absl::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

bool Colored(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(fileno(stream)) && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
         absl::string_view(term) != "dumb";
}

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}";
}

ListPrinter::ListPrinter(Format format, std::vector<Column> columns)
    : format_(format), columns_(std::move(columns)) {}

void ListPrinter::Add(const google::protobuf::Message& message, std::vector<Row> rows,
                      absl::string_view name) {
  switch (format_) {
    case Format::kTable:
      std::move(rows.begin(), rows.end(), std::back_inserter(rows_));
      break;
    case Format::kJson:
      absl::StrAppend(&json_, json_.empty() ? "\n " : ",\n ",
                      Indented(ToJson(message, /*pretty=*/true)));
      break;
    case Format::kJsonLines:
      Print(absl::StrCat(ToJson(message, /*pretty=*/false), "\n"));
      break;
    case Format::kName:
      if (!name.empty()) Print(absl::StrCat(name, "\n"));
      break;
  }
}

void ListPrinter::Finish() {
  if (format_ == Format::kJson) Print(json_.empty() ? "[]\n" : absl::StrCat("[", json_, "\n]\n"));
  if (format_ == Format::kTable && !rows_.empty()) {
    Print(FormatTable(columns_, rows_, /*headings=*/true));
  }
}

std::vector<Column> SessionColumns() {
  return {{.name = "SESSION"},
          {.name = "OWNER", .fit = Column::kCut},
          {.name = "WORKFLOW", .fit = Column::kLeftOut},
          {.name = "STATE"},
          {.name = "STAGE", .fit = Column::kCut},
          {.name = "STATUS"},
          {.name = "AGE", .right = true}};
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
  return {{.name = "SESSION"}, {.name = "ANSWER"},
          {.name = "SINCE"},   {.name = "WORKFLOW", .fit = Column::kLeftOut},
          {.name = "STATE"},   {.name = "STATUS"}};
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
  switch (format) {
    case Format::kTable:
      Print(CardOf(session));
      break;
    case Format::kJson:
      Print(ToJson(session, /*pretty=*/true));
      break;
    case Format::kJsonLines:
      Print(absl::StrCat(ToJson(session, /*pretty=*/false), "\n"));
      break;
    case Format::kName:
      Print(absl::StrCat(session.session_id(), "\n"));
      break;
  }
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
