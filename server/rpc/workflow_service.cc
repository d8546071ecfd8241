#include "server/rpc/workflow_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/ops/log.h"
#include "server/rpc/list_page.h"
#include "state_machine/refusal.h"
#include "state_machine/workflow_check.h"
#include "state_machine/workflow_text.h"

namespace sessiond::rpc {
namespace {

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

}  // namespace

Answer<v1::ListWorkflowsResponse> WorkflowService::ListWorkflows(CallInfo call,
                                                                 v1::ListWorkflowsRequest request) {
  auto page = PageOf(request, {"ListWorkflows", Part(request.all_revisions())});
  co_return ReplyOf(
      co_await store_.ListWorkflows(request.all_revisions(), std::move(page), call.asker.deadline),
      &v1::ListWorkflowsResponse::mutable_workflows);
}

Answer<v1::Workflow> WorkflowService::GetWorkflow(CallInfo call, v1::GetWorkflowRequest request) {
  const absl::Status refreshed = co_await store_.RefreshWorkflows(call.asker.deadline);
  if (!refreshed.ok()) co_return refreshed;
  const WorkflowCatalog& catalog = store_.catalog();
  const WorkflowCatalog::Entry found = request.revision() == 0
                                           ? catalog.Newest(request.name())
                                           : catalog.Find(request.name(), request.revision());
  if (found == nullptr) co_return NoSuchWorkflow(request, catalog);
  co_return found->definition();
}

// The request id needs no row of its own: a repeated request finds its content in the newest
// revision and has no second effect. Another definition under the same id is simply another
// revision; it cannot harm any session.
Answer<v1::Workflow> WorkflowService::CreateWorkflow(CallInfo call,
                                                     v1::CreateWorkflowRequest request) {
  v1::Workflow& definition = *request.mutable_workflow();
  const std::vector<WorkflowProblem> problems = CheckWorkflow(definition);
  if (!problems.empty()) co_return InvalidWorkflow(problems);

  const auto stored = co_await store_.CreateWorkflow(definition, call.asker.deadline);
  if (!stored.ok()) co_return stored.status();
  if (stored->created()) {
    Log(LogLevel::kInfo, "workflow",
        absl::StrCat("Workflow ", definition.name(), " revision ", stored->revision, " created"),
        {{"caller", call.caller()}, {"actor", request.actor()}, {"reason", request.reason()}});
  }
  // From now on new sessions of this daemon follow it.
  const absl::Status refreshed = co_await store_.RefreshWorkflows(call.asker.deadline);
  if (!refreshed.ok()) co_return refreshed;
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
