// The state machines that docs/state-machines.md shows are those that decide: what lies between the
// two markers is printed here.
#include "state_machine/diagrams.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/commands.h"
#include "tests/golden.h"

namespace sessiond {
namespace {

constexpr char kFile[] = "docs/state-machines.md";
constexpr char kBegin[] = "<!-- state machines: printed by tests/diagrams_test.cc -->\n";
constexpr char kEnd[] = "<!-- end -->\n";

std::string Mermaid(const std::string& diagram) {
  return absl::StrCat("```mermaid\n", diagram, "```\n");
}

std::string Printed() {
  std::string text = absl::StrCat(
      "\n## Life\n\n", Mermaid(LifecycleDiagram()),
      "\nWhat each state accepts, and what it refuses ",
      "with; `failed` is an ACTIVE or PAUSED session marked as failed.\n\n", AcceptanceTable());
  for (const absl::string_view definition : BuiltinWorkflows()) {
    const auto workflow = *Workflow::Parse(definition);
    absl::StrAppend(&text, "\n## ", workflow->definition().display_name(), " (`", workflow->name(),
                    "`)\n\n");
    const std::string stages = StageDiagram(*workflow);
    absl::StrAppend(&text, stages.empty() ? "No stages.\n" : Mermaid(stages), "\n",
                    StatusTable(*workflow));
  }
  return text + "\n";
}

TEST(Diagrams, InTheDocumentsAreThoseOfTheCode) {
  const auto path = std::filesystem::path(__FILE__).parent_path().parent_path() / kFile;
  std::stringstream file;
  file << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string text = file.str();
  const std::size_t begin = text.find(kBegin);
  ASSERT_NE(begin, std::string::npos) << kFile << " has lost its marker " << kBegin;
  const std::size_t end = text.find(kEnd, begin);
  ASSERT_NE(end, std::string::npos) << kFile << " has lost its marker " << kEnd;
  EXPECT_TRUE(MatchesGolden(
      kFile, absl::StrCat(text.substr(0, begin), kBegin, Printed(), text.substr(end))));
}

}  // namespace
}  // namespace sessiond
