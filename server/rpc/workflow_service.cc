#include "server/rpc/workflow_service.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "db/rows/workflow_rows.h"
#include "server/ops/log.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/reads.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/workflow_check.h"
#include "state_machine/workflow_text.h"

namespace sessiond::rpc {
namespace {

// Every round somebody's revision is created; who loses this many met as many others.
constexpr int kRoundsMax = 5;

absl::Status NoSuchWorkflow(const v1::GetWorkflowRequest& request, const WorkflowCatalog& catalog) {
  std::vector<std::string> revisions;
  for (const WorkflowCatalog::Entry& entry : catalog.List(/*all_revisions=*/true)) {
    if (entry->name() == request.name()) revisions.push_back(absl::StrCat(entry->revision()));
  }
  const std::vector<std::string> known = revisions.empty() ? catalog.Names() : revisions;
  return Refusal(
             v1::WORKFLOW_NOT_FOUND,
             revisions.empty()
                 ? absl::StrCat("There is no workflow \"", request.name(),
                                "\"; there are: ", absl::StrJoin(known, ", "), ".")
                 : absl::StrCat("Workflow \"", request.name(), "\" has no revision ",
                                request.revision(), "; it has: ", absl::StrJoin(known, ", "), "."))
      .With("workflow", request.name())
      .With("revision", absl::StrCat(request.revision()))
      .With("known", absl::StrJoin(known, ","))
      .Resource("sessiond.v1.Workflow", request.name());
}

absl::Status InvalidWorkflow(const std::vector<WorkflowProblem>& problems) {
  const std::string more = problems.size() > 1 ? absl::StrCat(" (the first of ", problems.size(),
                                                              " problems; ValidateWorkflow says "
                                                              "them all)")
                                               : "";
  Refusal refusal(
      v1::INVALID_WORKFLOW,
      absl::StrCat("The definition cannot be taken: ", Describe(problems.front()), more, "."));
  refusal.With("position", problems.front().path());
  for (const WorkflowProblem& problem : problems) {
    refusal.Violation(
        problem.path().empty() ? "workflow" : absl::StrCat("workflow.", problem.path()),
        problem.description());
  }
  return refusal;
}

// Where a page of definitions ended.
struct WorkflowKey {
  std::string name;
  int32_t revision = 0;
};

std::optional<WorkflowKey> ParseKey(const std::vector<std::string>& values) {
  WorkflowKey key;
  if (values.size() != 2 || !absl::SimpleAtoi(values[1], &key.revision)) return std::nullopt;
  key.name = values[0];
  return key;
}

// In the order of lists: by name, the newest revision first. Of a list of newest revisions this
// leaves out one that became the newest since.
bool IsBehind(const Workflow& workflow, const WorkflowKey& key) {
  return workflow.name() > key.name ||
         (workflow.name() == key.name && workflow.revision() < key.revision);
}

}  // namespace

Answer<v1::ListWorkflowsResponse> WorkflowService::ListWorkflows(CallInfo call,
                                                                 v1::ListWorkflowsRequest request) {
  const Pages pages(store_, {"ListWorkflows", Part(request.all_revisions())});
  const auto after = pages.After(request.page_token(), ParseKey);
  if (!after.ok()) co_return after.status();
  Refresh refresh(store_, call.deadline);
  if (const absl::Status refreshed = co_await refresh; !refreshed.ok()) co_return refreshed;

  v1::ListWorkflowsResponse response;
  const int page_size = PageSize(request.page_size());
  std::size_t bytes = 0;
  for (const WorkflowCatalog::Entry& entry : store_.catalog().List(request.all_revisions())) {
    if (after->has_value() && !IsBehind(*entry, **after)) continue;
    bytes += entry->definition().ByteSizeLong();
    const int taken = response.workflows_size();
    if (taken == page_size || (taken > 0 && bytes > kPageBytesMax)) {
      const v1::Workflow& last = response.workflows(taken - 1);
      response.set_next_page_token(pages.TokenOf({last.name(), absl::StrCat(last.revision())}));
      break;
    }
    *response.add_workflows() = entry->definition();
  }
  co_return response;
}

Answer<v1::Workflow> WorkflowService::GetWorkflow(CallInfo call, v1::GetWorkflowRequest request) {
  Refresh refresh(store_, call.deadline);
  if (const absl::Status refreshed = co_await refresh; !refreshed.ok()) co_return refreshed;
  const WorkflowCatalog& catalog = store_.catalog();
  const WorkflowCatalog::Entry found = request.revision() == 0
                                           ? catalog.Newest(request.name())
                                           : catalog.Find(request.name(), request.revision());
  if (found == nullptr) co_return NoSuchWorkflow(request, catalog);
  co_return found->definition();
}

// The request id needs no row of its own: a request sent again finds its content in the newest
// revision and has no second effect. Under the same id another definition is simply another
// revision; no session can be harmed by it.
Answer<v1::Workflow> WorkflowService::CreateWorkflow(CallInfo call,
                                                     v1::CreateWorkflowRequest request) {
  v1::Workflow& definition = *request.mutable_workflow();
  const std::vector<WorkflowProblem> problems = CheckWorkflow(definition);
  if (!problems.empty()) co_return InvalidWorkflow(problems);

  std::optional<db::StoredWorkflow> stored;
  for (int round = 0; round < kRoundsMax && !stored.has_value(); ++round) {
    Query insert(store_.writes(), db::InsertWorkflowSql(definition, db::Unless::kNewestIsSame),
                 call.deadline);
    const absl::StatusOr<db::Result> result = co_await insert;
    if (!result.ok()) co_return result.status();
    stored = db::ReadStoredWorkflow(*result);
  }
  if (!stored.has_value()) {
    co_return Refusal(v1::CONFLICT,
                      "Others keep creating revisions of this workflow at the same moment: retry.");
  }
  if (stored->created()) {
    Log(LogLevel::kInfo, "workflow",
        absl::StrCat("Workflow ", definition.name(), " revision ", stored->revision, " created"),
        {{"caller", call.caller}, {"actor", request.actor()}, {"reason", request.reason()}});
  }
  // From now on sessions created here follow it.
  Refresh refresh(store_, call.deadline);
  if (const absl::Status refreshed = co_await refresh; !refreshed.ok()) co_return refreshed;
  definition.set_revision(stored->revision);
  co_return std::move(definition);
}

Answer<v1::ValidateWorkflowResponse> WorkflowService::ValidateWorkflow(
    CallInfo, v1::ValidateWorkflowRequest request) {
  const std::vector<WorkflowProblem> problems = request.has_workflow()
                                                    ? CheckWorkflow(request.workflow())
                                                    : ReadWorkflow(request.textproto()).problems;
  v1::ValidateWorkflowResponse response;
  response.set_valid(problems.empty());
  response.mutable_problems()->Assign(problems.begin(), problems.end());
  co_return response;
}

}  // namespace sessiond::rpc
