#include "server/ops/readiness.h"

#include "absl/strings/str_cat.h"

namespace sessiond {
namespace {

// How long the database may refuse changes, and our own port may fail to answer: enough to repeat a
// write check that failed by chance.
constexpr absl::Duration kTroubleGrace = absl::Seconds(3);

// A round takes two seconds, or four if there is no answer; asking the database takes up to ten,
// unless a name server hangs.
constexpr absl::Duration kRoundMax = absl::Seconds(30);
// Overload may last that long; a closed port does not open again.
constexpr absl::Duration kDeafMax = absl::Seconds(60);

std::string For(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

}  // namespace

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

void Readiness::ObserveDurability(const absl::Status& durable, bool allowed) {
  absl::MutexLock lock(&mutex_);
  durable_ = durable;
  unsafe_allowed_ = allowed;
}

void Readiness::ObserveOwnCall(const absl::Status& outcome, SteadyTime now) {
  absl::MutexLock lock(&mutex_);
  last_round_ = now;
  own_call_ = outcome;
  const bool first = last_answer_ == SteadyTime::InfiniteFuture();
  if (outcome.ok() || first) last_answer_ = now;
  if (outcome.ok() || absl::IsResourceExhausted(outcome) || first) last_sign_ = now;
}

void Readiness::ObserveSecurity(std::string trouble) {
  absl::MutexLock lock(&mutex_);
  security_trouble_ = std::move(trouble);
}

void Readiness::StartDraining() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

Readiness::Check Readiness::DatabaseCheck(SteadyTime now) const {
  if (schema_version_.ok() && now - last_success_ <= kRoundMax)
    return {"database", true, absl::StrCat("takes changes, schema ", *schema_version_)};
  if (schema_version_.ok())
    return {"database", false, absl::StrCat("has been asked for ", For(now - last_success_))};
  const std::string said(schema_version_.status().message());
  if (absl::IsFailedPrecondition(schema_version_.status())) return {"database", false, said};
  if (last_success_ == SteadyTime::InfinitePast())
    return {"database", false, absl::StrCat("never reached: ", said)};
  const absl::Duration out = now - last_success_;
  if (absl::IsResourceExhausted(schema_version_.status()))
    return {"database", out <= kTroubleGrace,
            absl::StrCat("takes no changes for ", For(out), ": ", said)};
  return {"database", out <= database_grace_,
          absl::StrCat("out of reach for ", For(out), ": ", said)};
}

Readiness::Check Readiness::PortCheck(SteadyTime now) const {
  if (own_call_.ok()) return {"port", true, "answers"};
  const absl::Duration deaf = now - last_answer_;
  if (absl::IsResourceExhausted(own_call_)) {
    return {"port", deaf <= kTroubleGrace,
            absl::StrCat("lets nobody in for ", For(deaf), ": ", own_call_.message())};
  }
  return {"port", deaf <= kTroubleGrace,
          absl::StrCat(
              "does not answer the daemon's own call for ", For(deaf), ": ", own_call_.message(),
              "; if its open files are at their limit (process_open_fds), raise LimitNOFILE")};
}

Readiness::Check Readiness::ConnectionsCheck(SteadyTime now) const {
  if (connections_.ok()) return {"connections", true, "enough"};
  return {"connections", now - last_enough_ <= database_grace_,
          std::string(connections_.message())};
}

Readiness::Check Readiness::DurabilityCheck() const {
  if (!durable_.has_value()) return {"durability", true, "nothing is to be kept"};
  if (durable_->ok()) return {"durability", true, "acknowledged changes survive a crash"};
  const std::string why(durable_->message());
  if (!unsafe_allowed_) return {"durability", false, why};
  return {"durability", true, absl::StrCat("UNSAFE, as --allow-unsafe-database allows: ", why)};
}

std::vector<Readiness::Check> Readiness::Checks(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  std::vector<Check> checks = {DatabaseCheck(now),
                               ConnectionsCheck(now),
                               PortCheck(now),
                               DurabilityCheck(),
                               {"serving", !draining_, draining_ ? "draining" : "not draining"}};
  if (!security_trouble_.empty()) checks.push_back({"security", false, security_trouble_});
  return checks;
}

bool Readiness::ready(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  return !draining_ && DatabaseCheck(now).ok && ConnectionsCheck(now).ok && PortCheck(now).ok &&
         DurabilityCheck().ok;
}

bool Readiness::alive(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  // A drain ends the rounds, and has its own time limit.
  if (draining_) return true;
  return now - last_round_ <= kRoundMax && now - last_sign_ <= kDeafMax;
}

}  // namespace sessiond
