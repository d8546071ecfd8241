// What all calls to the daemon have in common: a deadline, safe retries, and readable refusals.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "sessiond/v1/error_reason.pb.h"

namespace sessiond {

struct CallOptions {
  // How long a call may take in all, including its retries.
  absl::Duration timeout = absl::Seconds(10);
  // The pause before the first retry. Each further one is twice as long, up to the maximum, and
  // drawn between half and the whole of that, so that many clients do not return at the same time.
  // A longer RetryInfo of the daemon takes precedence.
  absl::Duration backoff_initial = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(2);
  // Called for every retry before the pause, if set: for logs and counters.
  std::function<void(const absl::Status& status, absl::Duration pause)> on_retry;
};

// Makes `attempt`, and repeats it as long as it returns UNAVAILABLE and the deadline allows. Each
// attempt gets a new context that carries the deadline of the whole call. Returns the last
// attempt's status, decoded.
//
// Only UNAVAILABLE is retried: the daemon returns it when nothing was done, or when the same
// request_id makes sure that nothing is done twice.
absl::Status CallWithRetries(const CallOptions& options,
                             absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt);

// A request_id for one change: a random UUID (version 4).
std::string NewRequestId();

// The absl::Status of a response. The google.rpc details of a refusal become its payloads, keyed by
// their type URL (`type.googleapis.com/google.rpc.ErrorInfo`).
absl::Status DecodeStatus(const grpc::Status& status);

// One detail of a refusal, for example `GetDetail<google::rpc::BadRequest>(status)`; nothing if it
// has none.
template <class Detail>
std::optional<Detail> GetDetail(const absl::Status& status) {
  const auto payload =
      status.GetPayload("type.googleapis.com/" + Detail::descriptor()->full_name());
  Detail detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

// Why the daemon refused; ERROR_REASON_UNSPECIFIED when the refusal did not come from the daemon,
// and for reasons newer than this client, whose name is in GetDetail<google::rpc::ErrorInfo>.
v1::ErrorReason GetReason(const absl::Status& status);

// Who can fix it: USER_FIXABLE, ADMIN_REQUIRED or TEMPORARY; empty when the refusal did not come
// from the daemon.
std::string GetCategory(const absl::Status& status);

}  // namespace sessiond
