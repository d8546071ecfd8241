// TaskService: one coroutine for each RPC, that reads like its contract.
//
// Requests arrive parsed and validated (method.h). Refusals are named in task_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/answer.h"
#include "server/rpc/call.h"
#include "server/rpc/changes.h"
#include "sessiond/v1/task_service.pb.h"

namespace sessiond::rpc {

class TaskService {
 public:
  // REQUIRES: both outlive the service.
  TaskService(db::SessionStore& store, Journal& journal)
      : store_(store), changes_(store, journal) {}

  // Every change of the current task: Start, ReportProgress, Complete, Fail, Cancel, Retry.
  template <class Request>
  Answer<v1::SessionTask> ChangeTask(CallInfo call, Request request);

  Answer<v1::SessionTask> GetTask(CallInfo call, v1::GetTaskRequest request);
  Answer<v1::ListTasksResponse> ListTasks(CallInfo call, v1::ListTasksRequest request);

 private:
  db::SessionStore& store_;
  Changes changes_;
};

}  // namespace sessiond::rpc
