// `sessionctl workflow …`: the definitions that sessions follow.
#include <memory>

#include "absl/strings/strip.h"
#include "client/sessionctl/errors.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/views.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace sessiond::ctl {
namespace {

using Problem = v1::ValidateWorkflowResponse::Problem;

absl::Status Print(const Run& run, const absl::StatusOr<v1::Workflow>& workflow, bool textproto) {
  if (!workflow.ok()) return workflow.status();
  if (!textproto) {
    PrintOne(run.format, *workflow, WorkflowCard(*workflow), workflow->name());
    return absl::OkStatus();
  }
  v1::Workflow definition = *workflow;
  definition.clear_revision();  // Set by the daemon.
  Text text;
  google::protobuf::TextFormat::PrintToString(definition, &text);
  sessiond::ctl::Print(absl::StrCat(
      "# proto-file: sessiond/v1/workflow.proto\n# proto-message: sessiond.v1.Workflow\n", text));
  return absl::OkStatus();
}

void AddList(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListWorkflowsRequest>();
  CLI::App& app = *AddCommand(
      group, run, "list", "List workflows, each in its newest revision", [request](Run& run) {
        const ListView<v1::Workflow> view = {
            WorkflowColumns(),
            [](const v1::Workflow& workflow) { return std::vector<Row>{WorkflowRow(workflow)}; },
            [](const v1::Workflow& workflow) { return workflow.name(); }, "No workflows."};
        return ShowList(run, *request, 0, &WorkflowClient::ListWorkflows, view);
      });
  app.add_flag_callback(
      "--all-revisions", [request] { request->set_all_revisions(true); },
      "Every revision, the newest of each first");
}

void AddGet(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::GetWorkflowRequest>();
  auto textproto = std::make_shared<bool>(false);
  CLI::App& app =
      *AddCommand(group, run, "get", "Show what a workflow's sessions go through",
                  [request, textproto](Run& run) {
                    return Print(run, Ask(run, *request, &WorkflowClient::GetWorkflow), *textproto);
                  });
  app.alias("show");
  AddText(app, "WORKFLOW", "", "The workflow's name", [request](const Text& name) {
    request->set_name(name);
  })->required();
  AddNumber(app, "--revision", "N", "A certain revision (default: the newest)", 1, kNumberMax,
            [request](int revision) { request->set_revision(revision); });
  app.add_flag("--textproto", *textproto, "As a definition that validate and create take");
}

// file:line:column: problem, as in compilers' messages, so that editors find the place.
Text PlacedProblem(const Text& path, const Problem& problem) {
  Text place = path;
  if (problem.line() > 0) absl::StrAppend(&place, ":", problem.line());
  if (problem.column() > 0) absl::StrAppend(&place, ":", problem.column());
  absl::StrAppend(&place, ": ", problem.path(), problem.path().empty() ? "" : ": ",
                  problem.description());
  return Printable(place) + "\n";
}

absl::Status Validate(Run& run, const Text& path) {
  v1::ValidateWorkflowRequest request;
  request.set_textproto(ReadText("FILE", path));
  const auto response = Ask(run, request, &WorkflowClient::ValidateWorkflow);
  if (!response.ok()) return response.status();
  if (!response->valid()) run.exit_code = kExitNotTaken;
  if (IsJson(run.format)) {
    PrintOne(run.format, *response, Card(), "");
    return absl::OkStatus();
  }
  for (const Problem& problem : response->problems()) {
    sessiond::ctl::Print(PlacedProblem(path, problem));
  }
  if (response->valid()) std::cerr << Printable(path) << " is a sound definition.\n";
  return absl::OkStatus();
}

// Collects a text's parse errors.
class Problems : public google::protobuf::io::ErrorCollector {
 public:
  explicit Problems(const Text& path) : path_(path) {}
  void AddError(int line, int column, const Text& message) override {
    Problem problem;
    problem.set_line(line + 1);
    problem.set_column(column + 1);
    problem.set_description(message);
    text_ += PlacedProblem(path_, problem);
  }
  const Text& text() const { return text_; }

 private:
  const Text path_;
  Text text_;
};

absl::Status Create(Run& run, v1::CreateWorkflowRequest& request, const Text& path) {
  Problems problems(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&problems);
  if (!parser.ParseFromString(ReadText("FILE", path), request.mutable_workflow())) {
    throw CLI::ValidationError(
        "FILE", absl::StrCat("is no definition:\n", absl::StripSuffix(problems.text(), "\n")));
  }
  run.path = path;
  return Print(run, Change(run, request, &WorkflowClient::CreateWorkflow), /*textproto=*/false);
}

CLI::Option* AddFile(CLI::App& app, Text& path) {
  return app.add_option("FILE", path, "The definition as textproto; - for stdin")
      ->option_text("")
      ->required();
}

void AddValidate(CLI::App& group, Run& run) {
  auto path = std::make_shared<Text>();
  CLI::App& app =
      *AddCommand(group, run, "validate",
                  "Say all that is wrong with a definition, as file:line:column: problem",
                  [path](Run& run) { return Validate(run, *path); });
  app.footer(absl::StrCat("Exits with 3 when something is wrong with it.\n\n", app.get_footer()));
  AddFile(app, *path);
}

void AddCreate(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::CreateWorkflowRequest>();
  auto path = std::make_shared<Text>();
  CLI::App& app =
      *AddCommand(group, run, "create", "Create a workflow, or the next revision of one",
                  [request, path](Run& run) { return Create(run, *request, *path); });
  AddFile(app, *path);
  AddChangeOptions(app, *request);
}

}  // namespace

void AddWorkflowCommands(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("workflow", "List, check and create workflow definitions");
  group.require_subcommand(1);
  AddList(group, run);
  AddGet(group, run);
  AddValidate(group, run);
  AddCreate(group, run);
}

}  // namespace sessiond::ctl
