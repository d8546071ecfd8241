#include "server/rpc/grpc_status.h"

#include <string>

#include "google/rpc/status.pb.h"
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

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (status.code() == absl::StatusCode::kDeadlineExceeded ||
      status.code() == absl::StatusCode::kCancelled) {
    return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
  }
  if (ReasonOf(status) == v1::ERROR_REASON_UNSPECIFIED) {
    Log(LogLevel::kError, "rpc", "a status without a reason", {{"status", status.ToString()}});
    return ToGrpcStatus(Refusal(v1::CONSTRAINT_VIOLATION,
                                "The daemon met a defect of its own. Its log says more."));
  }
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  for (const absl::string_view type_url : kDetails) {
    const auto payload = status.GetPayload(type_url);
    if (!payload.has_value()) continue;
    auto* detail = details.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(*payload));
  }
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          details.SerializeAsString()};
}

}  // namespace sessiond::rpc
