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
#include "client/sessionctl/printable.h"
#include "google/protobuf/util/json_util.h"

namespace sessiond::ctl {
namespace {

constexpr char kGap[] = "  ";
// Allows a list of sessions to fit 80 columns, the narrowest common terminal.
constexpr std::size_t kCutWidthMin = 7;

// The width of each column, 0 for those left out, so that all fit `width_max` if that is possible:
// first the columns for wide terminals only are left out, then columns are cut, and then others are
// left out.
class Fitting {
 public:
  Fitting(const std::vector<Column>& columns, const std::vector<Row>& rows, std::size_t width_max)
      : columns_(columns), width_max_(width_max), natural_(columns.size()) {
    for (std::size_t i = 0; i < columns.size(); ++i) natural_[i] = WidthOf(columns[i].name);
    for (const Row& row : rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        natural_[i] = std::max(natural_[i], WidthOf(row[i].text));
      }
    }
  }

  std::vector<std::size_t> Widths() {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].fit == Column::kLeftOut && Missing(natural_) > 0) natural_[i] = 0;
    }
    std::vector<std::size_t> widths = WithCuts();
    while (Missing(widths) > 0) {
      const std::size_t next = NextToGo();
      if (next == columns_.size()) break;
      natural_[next] = 0;
      widths = WithCuts();
    }
    return widths;
  }

 private:
  // How many columns it is too wide.
  std::size_t Missing(const std::vector<std::size_t>& widths) const {
    std::size_t width = 0;
    for (const std::size_t column : widths) width += column == 0 ? 0 : column + std::strlen(kGap);
    const std::size_t room = width_max_ + std::strlen(kGap);
    return width > room ? width - room : 0;
  }

  // The widest is cut first; headings are not.
  std::vector<std::size_t> WithCuts() const {
    std::vector<std::size_t> widths = natural_;
    for (std::size_t missing = Missing(widths); missing > 0; --missing) {
      std::size_t* widest = nullptr;
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i].fit == Column::kCut &&
            widths[i] > std::max(kCutWidthMin, WidthOf(columns_[i].name)) &&
            (widest == nullptr || widths[i] > *widest)) {
          widest = &widths[i];
        }
      }
      if (widest == nullptr) break;
      --*widest;
    }
    return widths;
  }

  std::size_t NextToGo() const {
    std::size_t next = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (natural_[i] == 0 || columns_[i].goes == 0) continue;
      if (next == columns_.size() || columns_[i].goes < columns_[next].goes) next = i;
    }
    return next;
  }

  const std::vector<Column>& columns_;
  const std::size_t width_max_;
  std::vector<std::size_t> natural_;  // The full width of each; 0: it is left out.
};

// Pretty-printed JSON, indented one level further, without the final newline.
std::string Indented(absl::string_view json) {
  return absl::StrReplaceAll(absl::StripTrailingAsciiWhitespace(json), {{"\n", "\n "}});
}

}  // namespace

void Print(absl::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::string NameLine(absl::string_view name) {
  return absl::StrCat(isatty(STDOUT_FILENO) ? Printable(name) : name, "\n");
}

bool IsScreen(std::FILE* stream) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(stream)) && term != nullptr && absl::string_view(term) != "dumb";
}

bool Colored(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  return IsScreen(stream) && (no_color == nullptr || *no_color == '\0');
}

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? PrintableJson(json) : "{}";
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
      if (!name.empty()) Print(NameLine(name));
      break;
  }
}

void ListPrinter::Finish() {
  if (format_ == Format::kJson) Print(json_.empty() ? "[]\n" : absl::StrCat("[", json_, "\n]\n"));
  if (format_ == Format::kTable && !rows_.empty()) {
    Print(FormatTable(columns_, rows_, /*headings=*/true));
  }
}

std::string FormatTable(const std::vector<Column>& columns, const std::vector<Row>& given,
                        bool headings) {
  std::unique_ptr<libscols_table, decltype(&scols_unref_table)> table(scols_new_table(),
                                                                      &scols_unref_table);
  const bool terminal = isatty(STDOUT_FILENO);
  const bool colored = Colored(stdout);
  scols_table_set_termforce(
      table.get(), SCOLS_TERMFORCE_NEVER);  // What is still too wide must not be cut silently.
  scols_table_enable_noencoding(table.get(), true);  // Cells are printable, and escaped only once.
  scols_table_enable_colors(table.get(), colored);
  scols_table_enable_noheadings(table.get(), !headings);
  scols_table_set_column_separator(table.get(), kGap);
  std::vector<Row> rows = given;
  for (Row& row : rows) {
    for (Cell& cell : row) cell.text = Printable(cell.text);
  }
  const auto widths = Fitting(columns, rows,
                              terminal ? scols_table_get_termwidth(table.get())
                                       : std::numeric_limits<std::size_t>::max() / 2)
                          .Widths();

  for (std::size_t i = 0; i < columns.size(); ++i) {
    const int flags =
        (columns[i].right ? SCOLS_FL_RIGHT : 0) | (widths[i] == 0 ? SCOLS_FL_HIDDEN : 0);
    libscols_column* column = scols_table_new_column(table.get(), columns[i].name, 0, flags);
    if (colored) scols_cell_set_color(scols_column_get_header(column), color::kBold);
  }
  for (const Row& row : rows) {
    libscols_line* line = scols_table_new_line(table.get(), nullptr);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool cut = widths[i] > 0 && WidthOf(row[i].text) > widths[i];
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
      return Print(NameLine(name));
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
  // The two machines' clocks may differ: a time slightly in the future counts as now.
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
