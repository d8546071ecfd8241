#include "server/rpc/status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/ops/log.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

// The details of a status that callers may see, in the order in which they are sent: the reason
// first.
constexpr absl::string_view kDetails[] = {
    "type.googleapis.com/google.rpc.ErrorInfo",
    "type.googleapis.com/google.rpc.BadRequest",
    "type.googleapis.com/google.rpc.PreconditionFailure",
    "type.googleapis.com/google.rpc.ResourceInfo",
    "type.googleapis.com/google.rpc.RetryInfo",
};

}  // namespace

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status seen;
  if (status.ok()) return seen;
  const bool ours = ReasonOf(status) != v1::ERROR_REASON_UNSPECIFIED;
  // The others that need no reason. UNIMPLEMENTED is the protocols' own, for compressed requests.
  if (!ours && !absl::IsDeadlineExceeded(status) && !absl::IsCancelled(status) &&
      !absl::IsUnimplemented(status)) {
    Log(LogLevel::kError, "rpc", "a status without a reason", {{"status", status.ToString()}});
    return ToRpcStatus(Refusal(v1::CONSTRAINT_VIOLATION,
                               "The daemon met a defect of its own. Its log says more."));
  }
  seen.set_code(static_cast<int>(status.code()));
  seen.set_message(std::string(status.message()));
  if (!ours) return seen;
  for (const absl::string_view type_url : kDetails) {
    const auto payload = status.GetPayload(type_url);
    if (!payload.has_value()) continue;
    auto* detail = seen.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(*payload));
  }
  return seen;
}

grpc::Status ToGrpcStatus(const google::rpc::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), status.message(),
          status.details().empty() ? std::string() : status.SerializeAsString()};
}

std::string PushbackOf(const absl::Status& status) {
  const auto delay = RetryDelayOf(status);
  if (!absl::IsResourceExhausted(status) || !delay.has_value()) return "";
  return absl::StrCat(absl::ToInt64Milliseconds(*delay));
}

}  // namespace sessiond::rpc
