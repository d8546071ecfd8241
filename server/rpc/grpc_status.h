// absl::Status → grpc::Status: the only place where a refusal takes the form that callers see.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace sessiond::rpc {

// Details (google.rpc.*) are carried over; a status that no Refusal made becomes INTERNAL without
// its text, unless it is DEADLINE_EXCEEDED or CANCELLED, because what it says may be about the
// inside.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace sessiond::rpc
