// absl::Status → grpc::Status: the only place where a refusal gets the form that callers see.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace sessiond::rpc {

// Details (google.rpc.*) are carried over. A status that no Refusal made becomes INTERNAL without
// its text, which may reveal internals, unless it is DEADLINE_EXCEEDED or CANCELLED.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace sessiond::rpc
