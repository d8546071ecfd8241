// What all calls to the daemon have in common: a deadline, safe retries, and readable refusals.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
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

// A call that has ended, for logs and counters. It holds no payload and no token.
struct CallRecord {
  std::string method;  // `GetSession`.
  absl::Status status;
  int attempts = 0;
  absl::Duration duration;
};

struct CallOptions {
  // How long a call may take in all, including its retries.
  absl::Duration timeout = absl::Seconds(10);
  // The pause before the first retry. Each further one is twice as long, up to the maximum, and
  // drawn between half and the whole of that, so that many clients do not return at the same time.
  // A longer RetryInfo, or grpc-retry-pushback-ms, of the daemon takes precedence; a pushback that
  // is negative ends the call.
  absl::Duration backoff_initial = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(2);
  // Called for every retry before the pause, if set: for logs and counters.
  std::function<void(const absl::Status& status, absl::Duration pause)> on_retry = {};
  // Called for every call when it has ended, well or not, if set.
  std::function<void(const CallRecord& call)> on_call = {};
  // Called for every attempt, if set, to add what it carries: the trace, for example
  // `context.AddMetadata("traceparent", …)`. It runs on the thread of the call.
  std::function<void(grpc::ClientContext& context)> prepare = {};
  // Ends the call at once, also between its attempts, with CANCELLED.
  std::stop_token stop = {};
};

// Makes `attempt`, and repeats it as long as it returns UNAVAILABLE and the deadline allows. Each
// attempt gets a new context that carries the deadline of the whole call. Returns the last
// attempt's status, decoded.
//
// Only UNAVAILABLE is retried: the daemon returns it when nothing was done, or when the same
// request_id makes sure that nothing is done twice. `method` is for on_call.
absl::Status CallWithRetries(const CallOptions& options,
                             absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt,
                             absl::string_view method = "");

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

// What the daemon itself said of a refusal: an ErrorInfo of the domain `sessiond`. Nothing when the
// status did not come from the daemon: a lost connection, or a proxy in between.
std::optional<google::rpc::ErrorInfo> GetDaemonInfo(const absl::Status& status);

// Why the daemon refused; ERROR_REASON_UNSPECIFIED when the refusal did not come from the daemon,
// and for reasons newer than this client, whose name is in RefusalInfo::name.
v1::ErrorReason GetReason(const absl::Status& status);

// Who can fix it: USER_FIXABLE, ADMIN_REQUIRED or TEMPORARY; empty when the refusal did not come
// from the daemon.
std::string GetCategory(const absl::Status& status);

// Whether the same request may succeed in a moment. A status without a category did not come from
// the daemon's own code: CANCELLED is a daemon that shut down in a hurry, DEADLINE_EXCEEDED a proxy
// that limits the life of streams, INTERNAL and UNKNOWN one that resets them.
bool PassesByItself(const absl::Status& status);

}  // namespace sessiond
