#include "client/sessionctl/output.h"

#include <libsmartcols/libsmartcols.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
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

// Pretty-printed JSON, one level further in, without the newline at its end.
std::string Indented(absl::string_view json) {
  return absl::StrReplaceAll(absl::StripTrailingAsciiWhitespace(json), {{"\n", "\n "}});
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

void Card::Add(absl::string_view label, absl::string_view text, const char* color) {
  if (text.empty()) return;
  rows_.push_back({{std::string(label), color::kDim}, {std::string(text), color}});
}

void Card::AddStruct(absl::string_view label, const google::protobuf::Struct& object) {
  AddMap(label, object.fields(), ValueText);
}

std::string Card::Format() const {
  return FormatTable({{.name = "FIELD"}, {.name = "VALUE"}}, rows_, /*headings=*/false);
}

void PrintOne(Format format, const google::protobuf::Message& message, const Card& card,
              absl::string_view name) {
  switch (format) {
    case Format::kTable:
      return Print(card.Format());
    case Format::kJson:
      return Print(ToJson(message, /*pretty=*/true));
    case Format::kJsonLines:
      return Print(absl::StrCat(ToJson(message, /*pretty=*/false), "\n"));
    case Format::kName:
      return Print(absl::StrCat(name, "\n"));
  }
}

std::string ValueText(const google::protobuf::Value& value) {
  return ToJson(value, /*pretty=*/false);
}

std::string OneLine(absl::string_view text) {
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(text),
                             {{"\r\n", " "}, {"\n", " "}, {"\r", " "}, {"\t", " "}});
}

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string ShortTime(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", TimeOf(time), absl::UTCTimeZone());
}

std::string ShortDuration(absl::Duration duration) {
  if (duration < absl::Minutes(1)) return absl::StrCat(absl::ToInt64Seconds(duration), "s");
  if (duration < absl::Hours(1)) return absl::StrCat(absl::ToInt64Minutes(duration), "m");
  if (duration < absl::Hours(48)) return absl::StrCat(absl::ToInt64Hours(duration), "h");
  return absl::StrCat(absl::ToInt64Hours(duration) / 24, "d");
}

std::string Age(absl::Time since) {
  // The clocks of here and there may differ: what seems to lie a little in the future has just
  // happened.
  return ShortDuration(std::max(absl::Now() - since, absl::ZeroDuration()));
}

std::string Age(const google::protobuf::Timestamp& since) { return Age(TimeOf(since)); }

std::string Past(const google::protobuf::Timestamp& time) {
  return absl::StrCat(ShortTime(time), " (", Age(time), " ago)");
}

std::string Future(const google::protobuf::Timestamp& time) {
  const absl::Duration left = absl::Ceil(TimeOf(time) - absl::Now(), absl::Minutes(1));
  return absl::StrCat(ShortTime(time), left > absl::ZeroDuration()
                                           ? absl::StrCat(" (in ", ShortDuration(left), ")")
                                           : "");
}

}  // namespace sessiond::ctl
