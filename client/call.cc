#include "sessiond/call.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "backoff.h"
#include "google/rpc/status.pb.h"
#include "steady_time.h"

namespace sessiond {

absl::Status CallWithRetries(const CallOptions& options,
                             absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt) {
  const Deadline deadline(options.timeout);
  Backoff backoff(options.backoff_initial, options.backoff_max);
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(deadline.ForGrpc());
    absl::Status status = DecodeStatus(attempt(context));
    if (!absl::IsUnavailable(status)) return status;

    const absl::Duration pause = backoff.Next(status);
    if (pause >= deadline.left()) return status;
    if (options.on_retry) options.on_retry(status, pause);
    absl::SleepFor(pause);
  }
}

std::string NewRequestId() {
  std::random_device
      entropy;  // Not the back-off's generator: ids must not repeat across processes.
  const uint32_t a = entropy(), b = entropy(), c = entropy(), d = entropy();
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%04x%08x", a, b >> 16, b & 0xfff,
                         0x8000 | (c >> 16 & 0x3fff), c & 0xffff, d);
}

absl::Status DecodeStatus(const grpc::Status& status) {
  // The numbers of the two codes are the same by definition.
  absl::Status decoded(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (decoded.ok() || !details.ParseFromString(status.error_details())) return decoded;
  for (const auto& detail : details.details()) {
    decoded.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return decoded;
}

v1::ErrorReason GetReason(const absl::Status& status) {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  const auto info = GetDetail<google::rpc::ErrorInfo>(status);
  if (info.has_value()) v1::ErrorReason_Parse(info->reason(), &reason);
  return reason;
}

std::string GetCategory(const absl::Status& status) {
  const auto info = GetDetail<google::rpc::ErrorInfo>(status);
  if (!info.has_value()) return "";
  const auto category = info->metadata().find("category");
  return category == info->metadata().end() ? "" : category->second;
}

}  // namespace sessiond
