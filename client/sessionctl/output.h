// What goes to stdout: tables and cards for people, Protobuf's JSON mapping for programs, bare
// names for shells.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::ctl {

enum class Format { kTable, kJson, kJsonLines, kName };

void Print(absl::string_view text);

// Whether escape sequences are welcome: on a terminal, unless NO_COLOR is set or TERM is dumb.
bool Colored(std::FILE* stream);

// Escape sequences; "" is none.
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
  // What happens to it where a terminal is too narrow: it stays as it is, ends in …, or is left
  // out.
  enum Fit { kWhole, kCut, kLeftOut };

  const char* name;
  Fit fit = kWhole;
  bool right = false;
};

// Protobuf's JSON mapping; fields without presence are printed even where they have their default,
// so that a program finds the same fields in every answer.
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

std::vector<Column> SessionColumns();
Row SessionRow(const v1::Session& session);
std::vector<Column> EventColumns();
std::vector<Row> EventRows(const v1::SessionEvent& event);
std::vector<Column> LookupColumns();
Row LookupRow(const v1::SessionLookup& lookup);

// Prints one session; as a table, a card with everything it has.
void PrintSession(Format format, const v1::Session& session);
void PrintCounts(Format format, absl::string_view group_by,
                 const v1::CountSessionsResponse& counts);

}  // namespace sessiond::ctl
