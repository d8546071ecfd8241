#include "server/ops/readiness.h"

#include "absl/strings/str_cat.h"

namespace sessiond {

void Readiness::Observe(const absl::StatusOr<int>& schema_version, SteadyTime now) {
  absl::MutexLock lock(&mutex_);
  schema_version_ = schema_version;
  if (schema_version.ok()) last_success_ = now;
}

void Readiness::ObserveConnections(const absl::Status& enough, SteadyTime now) {
  absl::MutexLock lock(&mutex_);
  connections_ = enough;
  if (enough.ok()) last_enough_ = now;
}

void Readiness::StartDraining() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

Readiness::Check Readiness::DatabaseCheck(SteadyTime now) const {
  if (schema_version_.ok()) {
    return {"database", true, absl::StrCat("reachable, schema ", *schema_version_)};
  }
  const std::string said(schema_version_.status().message());
  if (absl::IsFailedPrecondition(schema_version_.status())) return {"database", false, said};
  if (last_success_ == SteadyTime::InfinitePast())
    return {"database", false, absl::StrCat("never reached: ", said)};
  const absl::Duration out = now - last_success_;
  return {"database", out <= database_grace_,
          absl::StrCat("out of reach for ",
                       absl::FormatDuration(absl::Trunc(out, absl::Seconds(1))), ": ", said)};
}

Readiness::Check Readiness::ConnectionsCheck(SteadyTime now) const {
  if (connections_.ok()) return {"connections", true, "enough"};
  return {"connections", now - last_enough_ <= database_grace_,
          std::string(connections_.message())};
}

std::vector<Readiness::Check> Readiness::Checks(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  return {DatabaseCheck(now),
          ConnectionsCheck(now),
          {"serving", !draining_, draining_ ? "draining" : "not draining"}};
}

bool Readiness::ready(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  return !draining_ && DatabaseCheck(now).ok && ConnectionsCheck(now).ok;
}

}  // namespace sessiond
