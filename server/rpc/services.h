// All services of the contract: which coroutine serves which RPC.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/artifact_service.h"
#include "server/rpc/changes.h"
#include "server/rpc/error_service.h"
#include "server/rpc/message_service.h"
#include "server/rpc/method.h"
#include "server/rpc/session_service.h"
#include "server/rpc/task_service.h"
#include "server/rpc/watch_service.h"
#include "server/rpc/workflow_service.h"

namespace sessiond::rpc {

// Their full names.
std::vector<std::string> ServiceNames();

class Services {
 public:
  // `started`: the daemon's start time. REQUIRES: all others outlive the services.
  Services(db::SessionStore& store, watch::HubFeeder& watches, Journal& journal,
           absl::Time started);

  // One for each RPC of the contract. REQUIRES: the services outlive the methods.
  std::vector<Method> Methods();

 private:
  Changes changes_;
  SessionService sessions_;
  WatchService watches_;
  TaskService tasks_;
  ErrorService errors_;
  MessageService messages_;
  ArtifactService artifacts_;
  WorkflowService workflows_;
  AdminService admin_;
};

}  // namespace sessiond::rpc
