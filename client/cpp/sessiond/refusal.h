// What the daemon says when it refuses a call, in one value:
//
//   absl::StatusOr<sessiond::v1::Session> session = client.GetSession(request);
//   if (const auto refusal = sessiond::GetRefusal(session.status())) {
//     LOG(INFO) << refusal->name << ": " << refusal->message;
//     if (refusal->reason == sessiond::v1::INVALID_TRANSITION) Offer(refusal->metadata["allowed"]);
//   }
//   if (const auto missing = sessiond::GetNotFound(session.status())) …
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/error_reason.pb.h"

namespace sessiond {

struct RefusalInfo {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  // ERROR_REASON_UNSPECIFIED for reasons newer than this client. Each value's comment says when it
  // is given, with which metadata, and what to do.
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  // The reason's name, also of those newer than this client: `NEVER_EXISTED`.
  std::string name;
  // Who can fix it: USER_FIXABLE, ADMIN_REQUIRED or TEMPORARY, when trying again may do.
  v1::SessionError::Category category = v1::SessionError::CATEGORY_UNSPECIFIED;
  // A sentence for a person: what is wrong, and what to do.
  std::string message;
  // What the reason's comment says of it.
  std::map<std::string, std::string> metadata;
  // The fields of the request that cannot be taken, if it was refused for that.
  struct Field {
    std::string path;
    std::string description;
  };
  std::vector<Field> fields;
  // How long the daemon asks to wait.
  std::optional<absl::Duration> retry_after;
};

// Nothing when the status is OK, or did not come from the daemon: a lost connection, a passed
// deadline, a proxy in between.
std::optional<RefusalInfo> GetRefusal(const absl::Status& status);

// A refusal because something is not there.
struct NotFound {
  // Why: NEVER_EXISTED, DELETED or ARCHIVED for a session; or which part of one is not there
  // (TASK_NOT_FOUND, …).
  v1::ErrorReason why = v1::ERROR_REASON_UNSPECIFIED;
  // The session that was asked for; empty when it was none.
  std::string session_id;
  // When it was deleted or archived.
  std::optional<absl::Time> since;
};

// Nothing when it is another refusal, or none of the daemon's.
std::optional<NotFound> GetNotFound(const absl::Status& status);

// How long any status asks to wait (its RetryInfo), whoever made it.
std::optional<absl::Duration> GetRetryAfter(const absl::Status& status);

}  // namespace sessiond
