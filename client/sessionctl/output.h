// The output on stdout: tables and cards for people, Protobuf's JSON mapping for programs, bare
// names for shells.
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace sessiond::ctl {

enum class Format { kTable, kJson, kJsonLines, kName };
inline bool IsJson(Format format) {
  return format == Format::kJson || format == Format::kJsonLines;
}

void Print(absl::string_view text);
// A bare name: unchanged for a shell, printable on a terminal.
std::string NameLine(absl::string_view name);

// Whether it is a terminal that knows escape sequences: TERM is not dumb.
bool IsScreen(std::FILE* stream);
// Whether to color what is written to it: on such a terminal, unless NO_COLOR says something.
bool Colored(std::FILE* stream);

// Escape sequences; "" means none.
namespace color {
constexpr char kBold[] = "\033[1m";
constexpr char kDim[] = "\033[2m";
constexpr char kRed[] = "\033[31m";
constexpr char kGreen[] = "\033[32m";
constexpr char kYellow[] = "\033[33m";
constexpr char kCyan[] = "\033[36m";
constexpr char kReset[] = "\033[0m";
}  // namespace color

struct Cell {
  std::string text;
  const char* color = "";
};
using Row = std::vector<Cell>;

struct Column {
  // What happens to the column when a terminal is too narrow: it stays whole, is cut with …, or is
  // left out first.
  enum Fit { kWhole, kCut, kLeftOut };

  const char* name;
  Fit fit = kWhole;
  bool right = false;
  // When it is left out if cutting is not enough, as on 72 columns: 1 first, 0 never.
  int goes = 0;
};

// Protobuf's JSON mapping; fields without presence are printed even with their default, so that a
// program finds the same fields in every response.
std::string ToJson(const google::protobuf::Message& message, bool pretty);

// Prints a list in any format. JSON is an array, `[]` when nothing was added.
class ListPrinter {
 public:
  ListPrinter(Format format, std::vector<Column> columns);
  // `rows` are its lines in a table; `name` is what `-o name` prints, nothing if empty.
  void Add(const google::protobuf::Message& message, std::vector<Row> rows, absl::string_view name);
  // REQUIRES: called once, after the last Add.
  void Finish();

 private:
  const Format format_;
  const std::vector<Column> columns_;
  std::vector<Row> rows_;
  std::string json_;
};

// Lays out a table for the width of the terminal, or as wide as needed without one. Cells are made
// printable.
std::string FormatTable(const std::vector<Column>& columns, const std::vector<Row>& rows,
                        bool headings);

// Sorted by key: Protobuf's maps have no order.
template <class Map>
std::map<std::string, typename Map::mapped_type> Sorted(const Map& map) {
  return {map.begin(), map.end()};
}

// The rows of a card: a label, and its value.
class Card {
 public:
  // Adds nothing for an empty text.
  void Add(absl::string_view label, absl::string_view text, const char* color = "");
  // One line per key, the label before the first.
  template <class Map, class ToText>
  void AddMap(absl::string_view label, const Map& map, ToText to_text) {
    for (const auto& [key, value] : Sorted(map)) {
      Add(label, absl::StrCat(key, " = ", to_text(value)));
      label = "";
    }
  }
  // The same for an object.
  void AddStruct(absl::string_view label, const google::protobuf::Struct& object);
  std::string Format() const;

 private:
  std::vector<Row> rows_;
};

// Prints one resource in any format; `card` is for people, `name` for `-o name`.
void PrintOne(Format format, const google::protobuf::Message& message, const Card& card,
              absl::string_view name);

// One line of JSON.
std::string ValueText(const google::protobuf::Value& value);
// The text of a cell: line breaks become spaces.
std::string OneLine(absl::string_view text);

absl::Time TimeOf(const google::protobuf::Timestamp& time);
absl::Duration DurationOf(const google::protobuf::Duration& duration);
std::string ShortTime(const google::protobuf::Timestamp& time);
// 12s, 5m, 3h, 2d: only the largest unit.
std::string ShortDuration(absl::Duration duration);
// How long ago it was, for a column.
std::string Age(absl::Time since);
std::string Age(const google::protobuf::Timestamp& since);
// The time, and how long ago it was, or how long it is until then.
std::string Past(const google::protobuf::Timestamp& time);
std::string Future(const google::protobuf::Timestamp& time);

}  // namespace sessiond::ctl
