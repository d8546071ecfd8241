// WorkflowService: one coroutine for each RPC, which reads like its contract.
//
// Requests arrive parsed and validated (method.h). Refusals are named in workflow_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/serialized.h"
#include "sessiond/v1/workflow_service.pb.h"

namespace sessiond::rpc {

// Definitions are read from the store's catalogue, after it was refreshed; they are few, and a
// daemon knows them all.
class WorkflowService {
 public:
  // REQUIRES: `store` outlives the service.
  explicit WorkflowService(db::SessionStore& store) : store_(store) {}

  Answer<v1::ListWorkflowsResponse> ListWorkflows(CallInfo call, v1::ListWorkflowsRequest request);
  Answer<v1::Workflow> GetWorkflow(CallInfo call, v1::GetWorkflowRequest request);
  Answer<v1::Workflow> CreateWorkflow(CallInfo call, v1::CreateWorkflowRequest request);
  Answer<v1::ValidateWorkflowResponse> ValidateWorkflow(CallInfo call,
                                                        v1::ValidateWorkflowRequest request);

 private:
  db::SessionStore& store_;
};

}  // namespace sessiond::rpc
