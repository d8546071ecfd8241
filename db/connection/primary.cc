#include "db/connection/primary.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "db/connection/sql_error.h"

namespace sessiond::db {
namespace {

// The first partition in which the server is behind what was seen.
std::optional<std::size_t> FirstBehind(const ServerState& state, const Seen& seen) {
  // A server that was not asked has reported none.
  const std::size_t size = std::min(state.positions.size(), seen.positions.size());
  for (std::size_t partition = 0; partition < size; ++partition) {
    if (state.positions[partition] < seen.positions[partition]) return partition;
  }
  return std::nullopt;
}

// For operators.
std::string WhyNot(Verdict verdict, const ServerState& state, const Seen& seen) {
  switch (verdict) {
    case Verdict::kFit:
      break;
    case Verdict::kStandby:
      return "it is a standby";
    case Verdict::kReadOnly:
      return "it is read-only";
    case Verdict::kOtherDatabase:
      return absl::StrCat("it is another cluster: its system identifier is ",
                          state.system_identifier, ", that of the one seen before is ",
                          seen.system_identifier);
    case Verdict::kOldTimeline:
      return absl::StrCat("it is an old primary: its timeline is ", state.timeline,
                          ", and timeline ", seen.timeline, " has been seen");
    case Verdict::kChangesMissing: {
      const std::size_t partition = FirstBehind(state, seen).value();
      return absl::StrCat("changes that were seen are missing from it: partition ", partition,
                          " is at position ", state.positions[partition], ", and ",
                          seen.positions[partition], " has been seen");
    }
  }
  return "";
}

// Whether the server would accept writes that would be lost.
bool IsDangerous(Verdict verdict) { return verdict >= Verdict::kOtherDatabase; }

template <class T>
void Raise(T& highest, T value) {
  highest = std::max(highest, value);
}

void RaisePosition(std::vector<int64_t>& positions, std::size_t partition, int64_t position) {
  if (positions.size() <= partition) positions.resize(partition + 1);
  Raise(positions[partition], position);
}

void RaisePositions(absl::Span<const int64_t> from, std::vector<int64_t>& positions) {
  for (std::size_t partition = 0; partition < from.size(); ++partition)
    RaisePosition(positions, partition, from[partition]);
}

}  // namespace

Verdict Judge(const ServerState& state, const Seen& seen, bool writes) {
  const bool other = state.system_identifier != 0 && seen.system_identifier != 0 &&
                     state.system_identifier != seen.system_identifier;
  if (other) return Verdict::kOtherDatabase;
  if (state.in_recovery) return Verdict::kStandby;
  if (state.timeline != 0 && state.timeline < seen.timeline) return Verdict::kOldTimeline;
  if (FirstBehind(state, seen).has_value()) return Verdict::kChangesMissing;
  if (writes && state.read_only) return Verdict::kReadOnly;
  return Verdict::kFit;
}

std::size_t Choose(absl::Span<const ServerState> servers, const Seen& seen) {
  const auto rank = [&seen](const ServerState& server) {
    const Verdict verdict = Judge(server, seen, /*writes=*/true);
    return std::tuple(verdict == Verdict::kFit, !IsDangerous(verdict), !server.in_recovery,
                      server.timeline);
  };
  const auto best =
      std::max_element(servers.begin(), servers.end(),
                       [&](const auto& one, const auto& other) { return rank(one) < rank(other); });
  return static_cast<std::size_t>(best - servers.begin());
}

Seen Primary::seen() const {
  const absl::MutexLock lock(&mutex_);
  return seen_;
}

absl::Status Primary::Weigh(const ServerState& state, const Seen& before, bool writes) {
  const Verdict verdict = Judge(state, before, writes);
  if (verdict != Verdict::kFit) {
    const std::string why = WhyNot(verdict, state, before);
    if (IsDangerous(verdict)) Refuse(why);
    const bool writable = verdict != Verdict::kStandby && verdict != Verdict::kReadOnly;
    return ConnectionLost(why, writable ? "08006" : "25006");
  }
  const absl::MutexLock lock(&mutex_);
  if (state.system_identifier != 0) seen_.system_identifier = state.system_identifier;
  Raise(seen_.timeline, state.timeline);
  timeline_ = seen_.timeline;
  RaisePositions(state.positions, seen_.positions);
  refusal_.clear();
  return absl::OkStatus();
}

void Primary::Acknowledged(const std::map<int16_t, int64_t>& positions) {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [partition, position] : positions)
    RaisePosition(seen_.positions, static_cast<std::size_t>(partition), position);
}

void Primary::Saw(absl::Span<const int64_t> positions, int32_t timeline) {
  const absl::MutexLock lock(&mutex_);
  if (timeline == seen_.timeline) RaisePositions(positions, seen_.positions);
}

void Primary::Refuse(const std::string& why) {
  const std::string text = absl::StrCat(
      "the database that is reached is refused, for ", why,
      ": bring back the one that this daemon has seen; if this one is to be used from now on, "
      "restart the daemon, which then takes it as it is");
  {
    const absl::MutexLock lock(&mutex_);
    if (refusal_ == text) return;  // Logged already.
    refusal_ = text;
  }
  spdlog::error("{}", text);
}

absl::Status Primary::refusal() const {
  const absl::MutexLock lock(&mutex_);
  return refusal_.empty() ? absl::OkStatus() : absl::FailedPreconditionError(refusal_);
}

}  // namespace sessiond::db
