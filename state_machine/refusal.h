// Refusals: the only way in which this project refuses a request. A refusal is an absl::Status
// whose payloads are the google.rpc details that the caller sees; its code and category follow from
// its reason, by one table.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "sessiond/v1/error_reason.pb.h"

namespace sessiond {

// Who can fix it.
enum class Category { kUserFixable, kAdminRequired, kTemporary };
absl::string_view CategoryName(Category category);

// What a reason always means: its gRPC code and who can fix it. REQUIRES: `reason` is not
// UNSPECIFIED.
absl::StatusCode CodeOf(v1::ErrorReason reason);
Category CategoryOf(v1::ErrorReason reason);

// Builds a refusal:
//
//   return Refusal(v1::INVALID_TRANSITION, "Cannot transition from PAUSED to PAUSED: allowed …")
//       .With("from", "PAUSED").With("to", "PAUSED").With("allowed", "ACTIVE,STOPPED");
class Refusal {
 public:
  // `sentence` says what is wrong and what to do, for a person; it is cut at 512 bytes.
  Refusal(v1::ErrorReason reason, std::string sentence);
  // ErrorInfo.metadata.
  Refusal& With(absl::string_view key, absl::string_view value);
  // Who can fix it, where that differs from the reason's default.
  Refusal& FixableBy(Category category);
  // BadRequest.field_violations; beyond 2 KiB of them the rest is left out.
  Refusal& Violation(absl::string_view field, absl::string_view description);
  // PreconditionFailure.violations.
  Refusal& Precondition(absl::string_view type, absl::string_view subject,
                        absl::string_view description);
  // ResourceInfo.
  Refusal& Resource(absl::string_view type, absl::string_view name);
  // RetryInfo.
  Refusal& RetryAfter(absl::Duration delay);

  // Implicit, so that a function can return a refusal as a Status or StatusOr.
  operator absl::Status() const;  // NOLINT(google-explicit-constructor)

 private:
  bool HasRoom() const;

  v1::ErrorReason reason_;
  std::string sentence_;
  google::rpc::ErrorInfo info_;
  google::rpc::BadRequest bad_request_;
  google::rpc::PreconditionFailure precondition_;
  google::rpc::ResourceInfo resource_;
  google::rpc::RetryInfo retry_;
};

// INVALID_FIELD: `wrong` follows the field's path in the sentence. Empty path: the whole request.
absl::Status InvalidField(absl::string_view path, absl::string_view wrong);

// OVERLOADED: more of these are waiting than the daemon accepts. `retry_after`: when some will be
// done.
absl::Status Overloaded(absl::string_view items,
                        absl::Duration retry_after = absl::Milliseconds(500));
// DRAINING: the daemon is shutting down; `elsewhere` is a sentence that says where to call instead.
inline constexpr absl::string_view kRetryElsewhere =
    "Retry at another one, with the same request_id.";
absl::Status Draining(absl::string_view elsewhere = kRetryElsewhere);

// The reason of a refusal; ERROR_REASON_UNSPECIFIED for OK and for statuses that no Refusal made.
v1::ErrorReason ReasonOf(const absl::Status& status);

// How long to wait before another attempt, where the refusal says so.
std::optional<absl::Duration> RetryDelayOf(const absl::Status& status);

// The ErrorInfo of a refusal; empty where there is none.
google::rpc::ErrorInfo ErrorInfoOf(const absl::Status& status);

}  // namespace sessiond
