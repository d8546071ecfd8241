// One stream of sessions to import: read ahead, changed in parallel, answered in the order in which
// they were sent.
#pragma once

#include "absl/status/status.h"
#include "db/base/coroutine.h"
#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/call.h"
#include "server/rpc/stream.h"
#include "sessiond/v1/admin_service.pb.h"

namespace sessiond::rpc {

using ImportStream = Stream<v1::ImportSessionsRequest, v1::ImportSessionsResponse>;

// Runs until the client has sent its last session and has all replies, or has left. REQUIRES: all
// arguments outlive the task.
Awaitable<absl::Status> RunImport(db::SessionStore& store, Journal& journal, CallInfo call,
                                  ImportStream& stream);

}  // namespace sessiond::rpc
