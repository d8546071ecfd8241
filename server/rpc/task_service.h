// The reads of TaskService: one coroutine for each RPC, which reads like its contract. Its verbs
// are rows of state_machine/verbs.inc.
//
// Requests arrive parsed and validated (method.h). Refusals are named in task_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/serialized.h"
#include "sessiond/v1/task_service.pb.h"

namespace sessiond::rpc {

class TaskService {
 public:
  // REQUIRES: the store outlives the service.
  explicit TaskService(db::SessionStore& store) : store_(store) {}

  Answer<v1::SessionTask> GetTask(CallInfo call, v1::GetTaskRequest request);
  Answer<v1::ListTasksResponse> ListTasks(CallInfo call, v1::ListTasksRequest request);

 private:
  db::SessionStore& store_;
};

}  // namespace sessiond::rpc
