#include "sessiond/call.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "backoff.h"
#include "google/rpc/status.pb.h"
#include "steady_time.h"

namespace sessiond {

namespace {

// How long the peer asks to wait, by gRPC's convention for retries; ZeroDuration when it does not
// say, and nothing when it says not to try again.
std::optional<absl::Duration> PushbackOf(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto [begin, end] = trailers.equal_range("grpc-retry-pushback-ms");
  if (begin == end) return absl::ZeroDuration();
  int32_t ms = -1;
  // By gRPC's rule what is no number, or several, means never.
  if (std::next(begin) != end ||
      !absl::SimpleAtoi(absl::string_view(begin->second.data(), begin->second.size()), &ms) ||
      ms < 0) {
    return std::nullopt;
  }
  return absl::Milliseconds(ms);
}

}  // namespace

absl::Status CallWithRetries(const CallOptions& options,
                             absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt,
                             absl::string_view method) {
  const Deadline deadline(options.timeout);
  const Stopwatch watch;
  Backoff backoff(options.backoff_initial, options.backoff_max);
  for (int attempts = 1;; ++attempts) {
    grpc::ClientContext context;
    context.set_deadline(deadline.ForGrpc());
    if (options.prepare) options.prepare(context);
    absl::Status status;
    {
      const std::stop_callback cancel(options.stop, [&context] { context.TryCancel(); });
      status = DecodeStatus(attempt(context));
    }
    if (absl::IsUnavailable(status)) {
      const std::optional<absl::Duration> pushback = PushbackOf(context);
      const absl::Duration pause =
          std::max(backoff.Next(status), pushback.value_or(absl::InfiniteDuration()));
      if (pause < deadline.left()) {
        if (options.on_retry) options.on_retry(status, pause);
        if (SleepFor(pause, options.stop)) continue;
        status = absl::CancelledError("The call was ended between two attempts");
      }
    }
    if (options.on_call) {
      options.on_call({std::string(method), status, attempts, watch.elapsed()});
    }
    return status;
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

std::optional<google::rpc::ErrorInfo> GetDaemonInfo(const absl::Status& status) {
  auto info = GetDetail<google::rpc::ErrorInfo>(status);
  if (!info.has_value() || info->domain() != "sessiond") return std::nullopt;
  return info;
}

v1::ErrorReason GetReason(const absl::Status& status) {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  const auto info = GetDaemonInfo(status);
  if (info.has_value()) v1::ErrorReason_Parse(info->reason(), &reason);
  return reason;
}

std::string GetCategory(const absl::Status& status) {
  const auto info = GetDaemonInfo(status);
  if (!info.has_value()) return "";
  const auto category = info->metadata().find("category");
  return category == info->metadata().end() ? "" : category->second;
}

bool PassesByItself(const absl::Status& status) {
  if (const std::string category = GetCategory(status); !category.empty()) {
    return category == "TEMPORARY";
  }
  return absl::IsUnavailable(status) || absl::IsCancelled(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsInternal(status) || absl::IsUnknown(status);
}

}  // namespace sessiond
