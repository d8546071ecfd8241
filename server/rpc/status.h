// absl::Status → what callers see: the only place where a refusal gets that form.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace sessiond::rpc {

// Details (google.rpc.*) are carried over. A status that no Refusal made becomes INTERNAL without
// its text, which may reveal internals, unless it is DEADLINE_EXCEEDED or CANCELLED.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// As gRPC sends it.
grpc::Status ToGrpcStatus(const google::rpc::Status& status);
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  return ToGrpcStatus(ToRpcStatus(status));
}

// In milliseconds, what gRPC's own retries wait for (gRFC A6), beside RetryInfo. Empty: nothing of
// the kind.
std::string PushbackOf(const absl::Status& status);

}  // namespace sessiond::rpc
