#include "tests/simulation/commands.h"

#include <map>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "state_machine/decide.h"
#include "state_machine/present.h"
#include "state_machine/session_id.h"
#include "state_machine/struct_json.h"
#include "tests/commands.h"

namespace sessiond::simulation {
namespace {

const char* const kTaskTypes[] = {"processing", "export", "adf_validation"};

std::string DrawUuid(Random& random) {
  const uint64_t high = random.Bits();
  const uint64_t low = random.Bits();
  return MakeSessionId(v1::Workflow::UUID, absl::FromUnixSeconds(1'767'225'600), high, low);
}

// The etag that the caller has seen.
Command Tagged(Command command, const v1::Session& session) {
  std::visit(
      [&](auto& request) {
        if constexpr (requires { request.set_etag(""); }) request.set_etag(EtagOf(session));
      },
      command.request);
  return command;
}

Command DrawTask(const std::string& id, const v1::Session& session, Random& random) {
  const v1::SessionTask& task = session.current_task();
  if (task.status() == v1::SessionTask::FAILED)
    return RetryTask(id, random.OneIn(2) ? DrawUuid(random) : "");
  if (task.status() != v1::SessionTask::RUNNING) {
    const char* type =
        session.stage() == "jira_export" ? kTaskTypes[1 + random.Below(2)] : kTaskTypes[0];
    return StartTask(id, type, random.OneIn(3) ? DrawUuid(random) : "");
  }
  switch (random.Below(8)) {
    case 0:
      return CompleteTask(id, task.task_id());
    case 1:
      return FailTask(id, task.task_id());
    case 2: {
      const v1::SessionError error = AnError(v1::SessionError::BLOCKING);
      return FailTask(id, task.task_id(), &error);
    }
    case 3:
      return CancelTask(id, task.task_id());
    case 4:
      return Progress(id, task.task_id(), 0.5);
    default:
      return Heartbeat(id, task.task_id());
  }
}

Command DrawLife(const std::string& id, const v1::Session& session, Random& random) {
  if (session.state() == v1::Session::DELETED) return About<v1::UndeleteSessionRequest>(id);
  switch (random.Below(9)) {
    case 0:
      return About<v1::PauseSessionRequest>(id);
    case 1:
      return About<v1::ResumeSessionRequest>(id);
    case 2:
      return About<v1::StopSessionRequest>(id);
    case 3:
      return About<v1::FailSessionRequest>(id);
    case 4:
      return Delete(id, random.OneIn(2));
    case 5:
      return About<v1::ActivateSessionRequest>(id);
    default:
      return About<v1::RecoverSessionRequest>(id);
  }
}

std::string NextStage(const v1::Session& session) {
  static const auto& next = *new std::map<std::string, std::string>{
      {"interviewing", "completed"}, {"site_info_collection", "upload"},
      {"upload", "processing"},      {"processing", "review"},
      {"review", "jira_export"},     {"jira_export", "completed"}};
  const auto found = next.find(session.stage());
  return found == next.end() ? "completed" : found->second;
}

Command DrawBelow(const std::string& id, const Aggregate& aggregate, Random& random) {
  const auto one_of = [&](const auto& map) {
    auto at = map.begin();
    std::advance(at, random.Below(static_cast<int>(map.size())));
    return at->first;
  };
  switch (random.Below(4)) {
    case 0:
      if (!aggregate.errors.empty()) return ResolveError(id, one_of(aggregate.errors));
      [[fallthrough]];
    case 1: {
      const std::string file =
          aggregate.artifacts.empty() || random.OneIn(2) ? "" : one_of(aggregate.artifacts);
      return RecordError(
          id,
          AnError(random.OneIn(3) ? v1::SessionError::BLOCKING : v1::SessionError::WARNING, file));
    }
    case 2:
      if (!aggregate.artifacts.empty()) return DeleteArtifact(id, one_of(aggregate.artifacts));
      [[fallthrough]];
    default:
      return AddArtifacts(id, {AnArtifact(absl::StrCat("file-", random.Below(4)))});
  }
}

}  // namespace

Command DrawChange(const std::string& id, const Aggregate& aggregate, Random& random) {
  const v1::Session session = aggregate.session.value_or(v1::Session());
  const bool interview = session.workflow() == "interview";
  Command command = [&] {
    switch (random.Below(10)) {
      case 0:
      case 1:
        return Increment(id, interview ? "current_question_number" : "total_tickets_generated", 1);
      case 2:
        return SetLabel(id, absl::StrCat("label-", random.Below(2)),
                        absl::StrCat("value-", random.Below(3)));
      case 3:
      case 4:
        if (interview) {
          const int count = 1 + random.Below(2);
          const std::string message = random.OneIn(4) ? DrawUuid(random) : "";
          return Append(id, random.OneIn(2) ? "question" : "answer", count, message);
        }
        return DrawTask(id, session, random);
      case 5:
        if (!interview) return DrawTask(id, session, random);
        [[fallthrough]];
      case 6:
        return DrawBelow(id, aggregate, random);
      case 7:
        return DrawLife(id, session, random);
      default:
        if (interview && !random.OneIn(6)) return Increment(id, "current_question_number", 1);
        return Advance(id, NextStage(session));
    }
  }();
  return random.OneIn(6) ? Tagged(std::move(command), session) : command;
}

Command DrawCreation(const std::string& session_id, const WorkflowCatalog& catalog,
                     Random& random) {
  const std::string workflow =
      std::vector<std::string>{"interview", "ticket_export", "short_lived"}[random.Below(3)];
  v1::CreateSessionRequest request = NewSession(workflow);
  request.set_session_id(session_id);
  request.set_creating(random.OneIn(6));
  request.mutable_session()->set_owner_id(random.OneIn(2) ? "ada" : "bob");
  if (workflow == "interview" && random.OneIn(2))
    (*request.mutable_session()->mutable_references())["job_posting"] = "job-1";
  if (workflow != "interview") {
    (*request.mutable_session()->mutable_context()->mutable_fields())["jira_project_key"] =
        StringValue("KEY");
  }
  return Create(catalog.Newest(workflow), request);
}

Command DrawHousekeeping(const std::string& id, const Aggregate& aggregate, Random& random) {
  const v1::Session session = aggregate.session.value_or(v1::Session());
  const v1::SessionTask& task = session.current_task();
  switch (random.Below(5)) {
    case 0:
      return Erase(id, random.OneIn(2) ? "ada" : "bob");
    case 1:
      return Detach(id, "job_posting", "job-1");
    case 2:
      if (!task.task_id().empty()) return ByTimeout(FailTask(id, task.task_id()));
      [[fallthrough]];
    default:
      return Share<v1::PurgeSessionsRequest>(id);
  }
}

}  // namespace sessiond::simulation
