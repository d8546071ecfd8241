#include "sessiond/refusal.h"

#include "sessiond/call.h"

namespace sessiond {

std::optional<absl::Duration> GetRetryAfter(const absl::Status& status) {
  const auto retry = GetDetail<google::rpc::RetryInfo>(status);
  if (!retry.has_value()) return std::nullopt;
  return absl::Seconds(retry->retry_delay().seconds()) +
         absl::Nanoseconds(retry->retry_delay().nanos());
}

std::optional<RefusalInfo> GetRefusal(const absl::Status& status) {
  const auto info = GetDaemonInfo(status);
  if (!info.has_value()) return std::nullopt;
  RefusalInfo refusal{.code = status.code(),
                      .reason = GetReason(status),
                      .name = info->reason(),
                      .message = std::string(status.message()),
                      .metadata = {info->metadata().begin(), info->metadata().end()},
                      .retry_after = GetRetryAfter(status)};
  v1::SessionError::Category_Parse(GetCategory(status), &refusal.category);
  refusal.metadata.erase("category");
  if (const auto request = GetDetail<google::rpc::BadRequest>(status)) {
    for (const auto& violation : request->field_violations()) {
      refusal.fields.push_back({violation.field(), violation.description()});
    }
  }
  return refusal;
}

std::optional<NotFound> GetNotFound(const absl::Status& status) {
  const auto refusal = GetRefusal(status);
  if (!refusal.has_value() || refusal->code != absl::StatusCode::kNotFound) return std::nullopt;
  NotFound missing{.why = refusal->reason};
  for (const auto& [key, value] : refusal->metadata) {
    absl::Time since;
    if (key == "session_id") missing.session_id = value;
    if ((key == "delete_time" || key == "archive_time") &&
        absl::ParseTime(absl::RFC3339_full, value, &since, nullptr)) {
      missing.since = since;
    }
  }
  return missing;
}

}  // namespace sessiond
