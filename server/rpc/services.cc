#include "server/rpc/services.h"

namespace sessiond::rpc {

std::vector<std::string> ServiceNames() {
  std::vector<std::string> names;
  for (const auto* method : {MethodOf<v1::GetSessionRequest>(), MethodOf<v1::GetTaskRequest>(),
                             MethodOf<v1::GetErrorRequest>(), MethodOf<v1::ListMessagesRequest>(),
                             MethodOf<v1::ListArtifactsRequest>(),
                             MethodOf<v1::GetWorkflowRequest>(), MethodOf<v1::EraseOwnerRequest>()})
    names.push_back(method->service()->full_name());
  return names;
}

Services::Services(db::SessionStore& store, watch::HubFeeder& watches, Journal& journal,
                   absl::Time started)
    : changes_(store, journal),
      sessions_(store, journal),
      watches_(store, watches),
      tasks_(store),
      errors_(store),
      messages_(store),
      artifacts_(store),
      workflows_(store),
      admin_(store, journal, started) {}

std::vector<Method> Services::Methods() {
  return {
#define SESSION_VERB(call, reply, ...) \
  Bind(changes_, &Changes::Serve<v1::reply, v1::call##Request>),
#include "state_machine/verbs.inc"
      Bind(sessions_, &SessionService::CreateSession),
      Bind(sessions_, &SessionService::GetSession),
      Bind(sessions_, &SessionService::LookupSessions),
      Bind(sessions_, &SessionService::ListSessions),
      Bind(sessions_, &SessionService::CountSessions),
      Bind(sessions_, &SessionService::ListRecoverableSessions),
      Bind(sessions_, &SessionService::ListSessionEvents),
      Bind(watches_, &WatchService::WatchSessions),
      Bind(tasks_, &TaskService::GetTask),
      Bind(tasks_, &TaskService::ListTasks),
      Bind(errors_, &ErrorService::GetError),
      Bind(errors_, &ErrorService::ListErrors),
      Bind(errors_, &ErrorService::SummarizeErrors),
      Bind(messages_, &MessageService::ListMessages),
      Bind(artifacts_, &ArtifactService::ListArtifacts),
      Bind(workflows_, &WorkflowService::ListWorkflows),
      Bind(workflows_, &WorkflowService::GetWorkflow),
      Bind(workflows_, &WorkflowService::CreateWorkflow),
      Bind(workflows_, &WorkflowService::ValidateWorkflow),
      Bind(admin_, &AdminService::EraseOwner),
      Bind(admin_, &AdminService::DetachReference),
      Bind(admin_, &AdminService::PurgeSessions),
      Bind(admin_, &AdminService::ImportSessions),
      Bind(admin_, &AdminService::GetServerInfo),
  };
}

}  // namespace sessiond::rpc
