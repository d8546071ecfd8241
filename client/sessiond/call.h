// What every call to the daemon has in common: a deadline, retries that are safe, and refusals that
// can be read.
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
  // How long a call may take in all, its retries included.
  absl::Duration timeout = absl::Seconds(10);
  // The pause before the first retry. Each further one is twice as long, up to the maximum, and
  // somewhere between half and the whole of that, so that many clients do not come back as one. A
  // longer RetryInfo of the daemon holds.
  absl::Duration backoff_initial = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(2);
  // Told of every retry before the pause, if given: for logs and counters.
  std::function<void(const absl::Status& status, absl::Duration pause)> on_retry;
};

// Makes `attempt`, and makes it again for as long as it answers UNAVAILABLE and the deadline
// allows. Each attempt is given a fresh context that carries the deadline of the whole. Answers
// with the last attempt's status, decoded.
//
// UNAVAILABLE alone is retried: the daemon says it when nothing was done, or when the same
// request_id makes sure that nothing is done twice.
absl::Status CallWithRetries(const CallOptions& options,
                             absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt);

// A request_id for one intention: a random UUID (version 4).
std::string NewRequestId();

// The absl::Status of an answer. The google.rpc details of a refusal become its payloads, keyed by
// their type URL
// (`type.googleapis.com/google.rpc.ErrorInfo`).
absl::Status DecodeStatus(const grpc::Status& status);

// One detail of a refusal, for example `GetDetail<google::rpc::BadRequest>(status)`; nothing where
// it has none.
template <class Detail>
std::optional<Detail> GetDetail(const absl::Status& status) {
  const auto payload =
      status.GetPayload("type.googleapis.com/" + Detail::descriptor()->full_name());
  Detail detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

// Why the daemon refused; ERROR_REASON_UNSPECIFIED when it was not the daemon that said no, and for
// reasons younger than this client, whose name is in GetDetail<google::rpc::ErrorInfo>.
v1::ErrorReason GetReason(const absl::Status& status);

// Who can fix it: USER_FIXABLE, ADMIN_REQUIRED or TEMPORARY; empty when it was not the daemon that
// said no.
std::string GetCategory(const absl::Status& status);

}  // namespace sessiond
