// `sessionctl error …`: one command for each RPC of ErrorService.
#include <memory>

#include "client/sessionctl/error_flags.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

absl::Status Print(const Run& run, const absl::StatusOr<v1::SessionError>& error) {
  if (!error.ok()) return error.status();
  PrintOne(run.format, *error, ErrorCard(*error), error->error_id());
  return absl::OkStatus();
}

template <class Request>
void AddErrorId(CLI::App& app, Run& run, Request& request) {
  AddText(app, "ERROR", "", "The error's id", [&run, &request](const Text& id) {
    run.error_id = id;
    request.set_error_id(id);
  })->required();
}

// The session, or none for all of a namespace.
template <class Request>
void AddScope(CLI::App& app, Run& run, Request& request) {
  CLI::Option* session = AddSessionId(app, run, request)->required(false);
  session->description("The session (default: all sessions of the namespace)");
  AddNamespace(app, "The namespace, without a SESSION; - for all (default: default)", request);
  AddFilter(app, "AIP-160: severity = \"BLOCKING\" AND resolved = false", request);
  AddIncludeDeleted(app, request);
}

void AddRecord(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::RecordErrorRequest>();
  CLI::App& app = *AddCommand(
      group, run, "record", "Record what went wrong, and who can fix it",
      [request](Run& run) { return Print(run, Change(run, *request, &ErrorClient::RecordError)); });
  AddSessionId(app, run, *request);
  AddErrorFields(app, *request, ErrorIs::kRequired);
  AddChangeOptions(app, *request);
}

void AddGet(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::GetErrorRequest>();
  CLI::App& app = *AddCommand(group, run, "get", "Show one error", [request](Run& run) {
    return Print(run, Ask(run, *request, &ErrorClient::GetError));
  });
  app.alias("show");
  AddSessionId(app, run, *request);
  AddErrorId(app, run, *request);
  AddIncludeDeleted(app, *request);
}

absl::Status List(Run& run, const v1::ListErrorsRequest& request, int limit) {
  run.filter = request.filter();
  const ErrorsOf of =
      request.session_id().empty() ? ErrorsOf::kManySessions : ErrorsOf::kOneSession;
  const ListView<v1::SessionError> view = {
      ErrorColumns(of),
      [of](const v1::SessionError& error) { return std::vector<Row>{ErrorRow(error, of)}; },
      [](const v1::SessionError& error) { return error.error_id(); }, "No errors."};
  return ShowList(run, request, limit, &ErrorClient::ListErrors, view);
}

void AddList(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListErrorsRequest>();
  auto limit = std::make_shared<int>(50);
  CLI::App& app =
      *AddCommand(group, run, "list", "List errors of a session, or of all sessions, newest first",
                  [request, limit](Run& run) { return List(run, *request, *limit); });
  AddScope(app, run, *request);
  AddLimit(app, *limit);
}

void AddResolve(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ResolveErrorRequest>();
  CLI::App& app =
      *AddCommand(group, run, "resolve", "Mark an error as resolved", [request](Run& run) {
        return Print(run, Change(run, *request, &ErrorClient::ResolveError));
      });
  AddSessionId(app, run, *request);
  AddErrorId(app, run, *request);
  AddText(app, "--resolution", "TEXT", "How it was resolved",
          [request](const Text& text) { request->set_resolution(text); });
  AddChangeOptions(app, *request);
}

std::string SummaryTables(const v1::SummarizeErrorsResponse& summary) {
  std::vector<Row> counts;
  for (const auto& count : summary.counts()) {
    counts.push_back({{v1::SessionError::Category_Name(count.category())},
                      {v1::SessionError::Severity_Name(count.severity())},
                      {absl::StrCat(count.count())},
                      {absl::StrCat(count.open_count())}});
  }
  counts.push_back({{"total", color::kBold},
                    {},
                    {absl::StrCat(summary.total()), color::kBold},
                    {absl::StrCat(summary.open_total()), color::kBold}});
  const std::string tables = FormatTable({{.name = "CATEGORY"},
                                          {.name = "SEVERITY"},
                                          {.name = "ERRORS", .right = true},
                                          {.name = "OPEN", .right = true}},
                                         counts, /*headings=*/true);
  if (summary.patterns().empty()) return tables;
  std::vector<Row> patterns;
  for (const auto& pattern : summary.patterns()) {
    patterns.push_back({{pattern.workflow()},
                        {pattern.operation_stage()},
                        {v1::SessionError::Category_Name(pattern.category())},
                        {pattern.error_code()},
                        {absl::StrCat(pattern.count())},
                        {absl::StrCat(pattern.session_count())}});
  }
  return absl::StrCat(tables, "\n",
                      FormatTable({{.name = "WORKFLOW"},
                                   {.name = "STAGE", .fit = Column::kCut},
                                   {.name = "CATEGORY"},
                                   {.name = "CODE", .fit = Column::kCut},
                                   {.name = "ERRORS", .right = true},
                                   {.name = "SESSIONS", .right = true}},
                                  patterns, /*headings=*/true));
}

absl::Status Summarize(Run& run, const v1::SummarizeErrorsRequest& request) {
  run.filter = request.filter();
  const auto summary = Ask(run, request, &ErrorClient::SummarizeErrors);
  if (!summary.ok()) return summary.status();
  if (run.format == Format::kTable) {
    sessiond::ctl::Print(SummaryTables(*summary));
  } else {
    PrintOne(run.format, *summary, Card(), absl::StrCat(summary->total()));
  }
  return absl::OkStatus();
}

void AddSummary(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::SummarizeErrorsRequest>();
  CLI::App& app = *AddCommand(group, run, "summary", "Count errors, and find what happens most",
                              [request](Run& run) { return Summarize(run, *request); });
  AddScope(app, run, *request);
}

}  // namespace

void AddErrorCommands(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("error", "Record, find and resolve errors of sessions");
  group.require_subcommand(1);
  AddRecord(group, run);
  AddGet(group, run);
  AddList(group, run);
  AddResolve(group, run);
  AddSummary(group, run);
}

}  // namespace sessiond::ctl
