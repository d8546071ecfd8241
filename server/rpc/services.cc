#include "server/rpc/services.h"

namespace sessiond::rpc {
namespace {

// The service in whose file a request is. Taken from its descriptor, so that the linker keeps what
// reflection and metrics look up by name.
template <class Request>
const google::protobuf::ServiceDescriptor* Service() {
  return Request::descriptor()->file()->service(0);
}

ServiceMethods SessionMethods(SessionService& service, WatchService& watches) {
  using S = SessionService;
  return {
      .descriptor = Service<v1::GetSessionRequest>(),
      .methods =
          {
              Bind("CreateSession", service, &S::CreateSession),
              Bind("ActivateSession", service, &S::ChangeSession<v1::ActivateSessionRequest>),
              Bind("GetSession", service, &S::GetSession),
              Bind("LookupSessions", service, &S::LookupSessions),
              Bind("ListSessions", service, &S::ListSessions),
              Bind("CountSessions", service, &S::CountSessions),
              Bind("UpdateSession", service, &S::ChangeSession<v1::UpdateSessionRequest>),
              Bind("AdvanceSession", service, &S::ChangeSession<v1::AdvanceSessionRequest>),
              Bind("PauseSession", service, &S::ChangeSession<v1::PauseSessionRequest>),
              Bind("ResumeSession", service, &S::ChangeSession<v1::ResumeSessionRequest>),
              Bind("StopSession", service, &S::ChangeSession<v1::StopSessionRequest>),
              Bind("FailSession", service, &S::ChangeSession<v1::FailSessionRequest>),
              Bind("RecoverSession", service, &S::ChangeSession<v1::RecoverSessionRequest>),
              Bind("DeleteSession", service, &S::ChangeSession<v1::DeleteSessionRequest>),
              Bind("UndeleteSession", service, &S::ChangeSession<v1::UndeleteSessionRequest>),
              Bind("ListRecoverableSessions", service, &S::ListRecoverableSessions),
              Bind("ListSessionEvents", service, &S::ListSessionEvents),
              Bind("WatchSessions", watches, &WatchService::WatchSessions),
          },
  };
}

ServiceMethods TaskMethods(TaskService& service) {
  using S = TaskService;
  return {
      .descriptor = Service<v1::GetTaskRequest>(),
      .methods =
          {
              Bind("StartTask", service, &S::ChangeTask<v1::StartTaskRequest>),
              Bind("GetTask", service, &S::GetTask),
              Bind("ReportTaskProgress", service, &S::ChangeTask<v1::ReportTaskProgressRequest>),
              Bind("CompleteTask", service, &S::ChangeTask<v1::CompleteTaskRequest>),
              Bind("FailTask", service, &S::ChangeTask<v1::FailTaskRequest>),
              Bind("CancelTask", service, &S::ChangeTask<v1::CancelTaskRequest>),
              Bind("RetryTask", service, &S::ChangeTask<v1::RetryTaskRequest>),
              Bind("ListTasks", service, &S::ListTasks),
          },
  };
}

ServiceMethods ErrorMethods(ErrorService& service) {
  using S = ErrorService;
  return {
      .descriptor = Service<v1::GetErrorRequest>(),
      .methods =
          {
              Bind("RecordError", service, &S::ChangeError<v1::RecordErrorRequest>),
              Bind("GetError", service, &S::GetError),
              Bind("ListErrors", service, &S::ListErrors),
              Bind("ResolveError", service, &S::ChangeError<v1::ResolveErrorRequest>),
              Bind("SummarizeErrors", service, &S::SummarizeErrors),
          },
  };
}

ServiceMethods MessageMethods(MessageService& service) {
  return {
      .descriptor = Service<v1::ListMessagesRequest>(),
      .methods =
          {
              Bind("AppendMessages", service, &MessageService::AppendMessages),
              Bind("ListMessages", service, &MessageService::ListMessages),
          },
  };
}

ServiceMethods ArtifactMethods(ArtifactService& service) {
  return {
      .descriptor = Service<v1::ListArtifactsRequest>(),
      .methods =
          {
              Bind("AddArtifacts", service, &ArtifactService::AddArtifacts),
              Bind("ListArtifacts", service, &ArtifactService::ListArtifacts),
              Bind("DeleteArtifact", service, &ArtifactService::DeleteArtifact),
          },
  };
}

ServiceMethods WorkflowMethods(WorkflowService& service) {
  using S = WorkflowService;
  return {
      .descriptor = Service<v1::GetWorkflowRequest>(),
      .methods =
          {
              Bind("ListWorkflows", service, &S::ListWorkflows),
              Bind("GetWorkflow", service, &S::GetWorkflow),
              Bind("CreateWorkflow", service, &S::CreateWorkflow),
              Bind("ValidateWorkflow", service, &S::ValidateWorkflow),
          },
  };
}

ServiceMethods AdminMethods(AdminService& service) {
  return {
      .descriptor = Service<v1::EraseOwnerRequest>(),
      .methods =
          {
              Bind("EraseOwner", service, &AdminService::EraseOwner),
              Bind("DetachReference", service, &AdminService::DetachReference),
              Bind("PurgeSessions", service, &AdminService::PurgeSessions),
              Bind("ImportSessions", service, &AdminService::ImportSessions),
              Bind("GetServerInfo", service, &AdminService::GetServerInfo),
          },
  };
}

}  // namespace

std::vector<std::string> ServiceNames() {
  std::vector<std::string> names;
  for (const auto* service :
       {Service<v1::GetSessionRequest>(), Service<v1::GetTaskRequest>(),
        Service<v1::GetErrorRequest>(), Service<v1::ListMessagesRequest>(),
        Service<v1::ListArtifactsRequest>(), Service<v1::GetWorkflowRequest>(),
        Service<v1::EraseOwnerRequest>()}) {
    names.push_back(service->full_name());
  }
  return names;
}

Services::Services(db::SessionStore& store, watch::Feed& watches, Journal& journal,
                   absl::Time started)
    : sessions_(store, journal),
      watches_(store, watches),
      tasks_(store, journal),
      errors_(store, journal),
      messages_(store, journal),
      artifacts_(store, journal),
      workflows_(store),
      admin_(store, journal, started) {}

std::vector<ServiceMethods> Services::Methods() {
  return {SessionMethods(sessions_, watches_),
          TaskMethods(tasks_),
          ErrorMethods(errors_),
          MessageMethods(messages_),
          ArtifactMethods(artifacts_),
          WorkflowMethods(workflows_),
          AdminMethods(admin_)};
}

}  // namespace sessiond::rpc
