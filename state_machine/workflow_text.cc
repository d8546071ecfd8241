#include "state_machine/workflow_text.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace sessiond {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

// The parser quotes the text that it could not read, which may contain any bytes.
std::string Printable(const std::string& message) {
  constexpr std::size_t kShownMax = 512;
  const std::string shown = message.substr(0, kShownMax);
  const bool ascii = std::all_of(shown.begin(), shown.end(), absl::ascii_isprint);
  return ascii ? shown : absl::CHexEscape(shown);
}

// A position in the text as Protobuf counts it: from 0, and a tab advances to the next multiple of
// 8.
struct Place {
  int line = 0;
  int column = 0;

  void Pass(char c) {
    if (c == '\n') {
      *this = {line + 1, 0};
    } else {
      column += c == '\t' ? 8 - column % 8 : 1;
    }
  }
  bool operator<(const Place& other) const {
    return std::tie(line, column) < std::tie(other.line, other.column);
  }
};

// The last position of `word` before `end`; `end` if there is none.
Place LastBefore(absl::string_view text, absl::string_view word, Place end) {
  Place last = end;
  Place place;
  for (std::size_t i = 0; i < text.size() && place < end; place.Pass(text[i++])) {
    if (absl::StartsWith(text.substr(i), word)) last = place;
  }
  return last;
}

// Collects the parser's errors. People count lines and columns from 1.
class Complaints : public google::protobuf::io::ErrorCollector {
 public:
  Complaints(absl::string_view text, std::vector<WorkflowProblem>& problems)
      : text_(text), problems_(problems) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    Place place{line, column};
    // For a value that an enum does not have, the parser gives the position after it.
    absl::string_view value = message;
    if (absl::ConsumePrefix(&value, "Unknown enumeration value of \""))
      place = LastBefore(text_, value.substr(0, value.find('"')), place);
    WorkflowProblem& problem = problems_.emplace_back();
    problem.set_line(place.line + 1);
    problem.set_column(place.column + 1);
    problem.set_description(Printable(message));
  }

 private:
  const absl::string_view text_;
  std::vector<WorkflowProblem>& problems_;
};

// The position of the entry. A list in brackets has one location for all of its entries.
TextFormat::ParseLocation Locate(const TextFormat::ParseInfoTree& tree,
                                 const FieldDescriptor& field, int index) {
  if (!field.is_repeated()) return tree.GetLocation(&field, -1);
  for (; index > 0; --index) {
    const TextFormat::ParseLocation location = tree.GetLocation(&field, index);
    if (location.line >= 0) return location;
  }
  return tree.GetLocation(&field, 0);
}

// Follows the path as far as the text has it: a missing part is reported where it should be.
void SetPosition(const TextFormat::ParseInfoTree& root, WorkflowProblem& problem) {
  const TextFormat::ParseInfoTree* tree = &root;
  const Descriptor* type = v1::Workflow::descriptor();
  for (absl::string_view step : absl::StrSplit(problem.path(), '.')) {
    const std::size_t bracket = step.find('[');
    int index = 0;
    if (bracket != absl::string_view::npos)
      (void)absl::SimpleAtoi(absl::StripSuffix(step.substr(bracket + 1), "]"), &index);
    const FieldDescriptor* field =
        type == nullptr ? nullptr : type->FindFieldByName(std::string(step.substr(0, bracket)));
    if (field == nullptr) return;
    const TextFormat::ParseLocation location = Locate(*tree, *field, index);
    if (location.line >= 0) {
      problem.set_line(location.line + 1);
      problem.set_column(location.column + 1);
    }
    type = field->message_type();
    if (type == nullptr) return;
    tree = tree->GetTreeForNested(field, field->is_repeated() ? index : -1);
    if (tree == nullptr) return;
  }
}

}  // namespace

WorkflowText ReadWorkflow(absl::string_view textproto) {
  absl::ConsumePrefix(&textproto, "\xEF\xBB\xBF");  // A byte-order mark: some editors write one.
  WorkflowText text;
  TextFormat::Parser parser;
  TextFormat::ParseInfoTree locations;
  Complaints complaints(textproto, text.problems);
  parser.RecordErrorsTo(&complaints);
  parser.WriteLocationsTo(&locations);
  const bool read = parser.ParseFromString(std::string(textproto), &text.definition);
  if (!read && text.problems.empty()) {
    text.problems.emplace_back().set_description("this is no textproto of sessiond.v1.Workflow");
  }
  if (!text.problems.empty()) return text;
  text.problems = CheckWorkflow(text.definition);
  for (WorkflowProblem& problem : text.problems) SetPosition(locations, problem);
  std::stable_sort(text.problems.begin(), text.problems.end(),
                   [](const WorkflowProblem& a, const WorkflowProblem& b) {
                     return Place{a.line(), a.column()} < Place{b.line(), b.column()};
                   });
  return text;
}

std::string Describe(const WorkflowProblem& problem) {
  return absl::StrCat(
      problem.line() > 0 ? absl::StrCat(problem.line(), ":", problem.column(), ": ") : "",
      problem.path().empty() ? "" : absl::StrCat(problem.path(), ": "), problem.description());
}

}  // namespace sessiond
