// Fields marked OUTPUT ONLY in the contract are ignored in requests: they are dropped before
// anybody acts on a request, so that what was read can be sent back as it came. A request that
// differs in nothing else has the same payload, and so takes effect once under one request_id. A
// creation that says what goes without saying, the namespace `default` or an empty context, is no
// other either; nor is an update for what its mask leaves out.
#pragma once

#include "sessiond/v1/artifact_service.pb.h"
#include "sessiond/v1/error_service.pb.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"
#include "sessiond/v1/workflow_service.pb.h"

namespace sessiond::rpc {

// Most requests carry no resource. ImportSessions, whose resources say all that they are, is a
// stream, and is not asked.
template <class Request>
void DropOutputOnly(Request&) {}

void DropOutputOnly(v1::CreateSessionRequest& request);
void DropOutputOnly(v1::UpdateSessionRequest& request);
void DropOutputOnly(v1::AddArtifactsRequest& request);
void DropOutputOnly(v1::AppendMessagesRequest& request);
void DropOutputOnly(v1::RecordErrorRequest& request);
void DropOutputOnly(v1::FailTaskRequest& request);
void DropOutputOnly(v1::CreateWorkflowRequest& request);

}  // namespace sessiond::rpc
