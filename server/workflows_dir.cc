#include "server/workflows_dir.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/embedded.h"
#include "server/files/small_file.h"
#include "state_machine/workflow.h"
#include "state_machine/workflow_text.h"

namespace sessiond {
namespace {

// A call that creates one may be no larger, by far.
constexpr std::size_t kDefinitionBytesMax = 1 << 20;

absl::StatusOr<std::vector<std::string>> ListTextprotos(const std::string& directory) {
  std::vector<std::string> paths;
  std::string other;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code unknown;  // Of an entry: it is no file then.
    if (entry->path().extension() == ".textproto") {
      paths.push_back(entry->path().string());
    } else if (entry->is_regular_file(unknown) &&
               entry->path().filename().native().front() != '.') {
      other = entry->path().string();
    }
  }
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("the workflow definitions in ", directory, " cannot be read (",
                     error.message(), "): name another directory with --workflows-dir"));
  }
  if (paths.empty() && !other.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no file of ", directory,
                     " is a workflow definition, which are called NAME.textproto; there is ", other,
                     ": rename it, or name another directory with --workflows-dir"));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<v1::Workflow> ReadDefinition(const std::string& path) {
  const absl::StatusOr<SmallFile> file =
      ReadSmallFile("workflow definition", path, kDefinitionBytesMax);
  if (!file.ok()) return absl::FailedPreconditionError(file.status().message());
  WorkflowText text = ReadWorkflow(WithoutByteOrderMark(file->text));
  if (text.problems.empty()) return std::move(text.definition);
  const std::size_t others = text.problems.size() - 1;
  return absl::FailedPreconditionError(absl::StrCat(
      path, ":", Describe(text.problems.front()),
      others == 0
          ? ""
          : absl::StrCat(" (and ", others, others == 1 ? " problem" : " problems", " more)"),
      "; mend the definition, or take the file out of --workflows-dir"));
}

}  // namespace

absl::StatusOr<std::vector<v1::Workflow>> ReadWorkflowsDir(const std::string& directory) {
  const auto paths = ListTextprotos(directory);
  if (!paths.ok()) return paths.status();
  std::vector<v1::Workflow> definitions;
  std::map<std::string, std::string> path_of;
  for (const std::string& path : *paths) {
    auto definition = ReadDefinition(path);
    if (!definition.ok()) return definition.status();
    const auto [first, is_new] = path_of.emplace(definition->name(), path);
    if (!is_new) {
      return absl::FailedPreconditionError(
          absl::StrCat(first->second, " and ", path, " both define the workflow \"",
                       definition->name(), "\": keep one of them in --workflows-dir"));
    }
    definitions.push_back(*std::move(definition));
  }
  return definitions;
}

absl::StatusOr<std::vector<v1::Workflow>> WorkflowsAtStart(const std::string& directory) {
  std::vector<v1::Workflow> definitions;
  if (!directory.empty()) {
    auto read = ReadWorkflowsDir(directory);
    if (!read.ok()) return read.status();
    definitions = *std::move(read);
  }
  const std::size_t of_directory = definitions.size();
  for (const absl::string_view text : BuiltinWorkflows()) {
    const auto builtin = Workflow::Parse(text);
    if (!builtin.ok()) return builtin.status();
    const auto end = definitions.begin() + static_cast<std::ptrdiff_t>(of_directory);
    const bool replaced = std::any_of(definitions.begin(), end, [&](const v1::Workflow& given) {
      return given.name() == (*builtin)->name();
    });
    if (!replaced) definitions.push_back((*builtin)->definition());
  }
  return definitions;
}

}  // namespace sessiond
