// What waits in a lane's inbox, and what comes back.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/base/deadline.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// The result of a command.
struct Outcome {
  // The session as the command left it; for a repeated request, its current state. Empty except for
  // its id once it is archived or erased.
  v1::Session session;
  // The facts this command added; none for a repeated request.
  std::vector<v1::SessionEvent> events;
  // What the command named, or the request that it repeats, in its current state.
  std::vector<v1::SessionError> errors;
  std::vector<v1::SessionArtifact> artifacts;
  // For messages.
  int32_t first_sequence = 0, last_sequence = 0;
};

// Command::seed: the ids that a command draws are its request's, whichever daemon carries it out.
inline std::array<uint64_t, 2> SeedOf(absl::string_view request_key) {
  std::array<uint64_t, 2> seed = {};
  std::memcpy(seed.data(), request_key.data(), std::min(sizeof(seed), request_key.size()));
  return seed;
}

// A command on its way through a lane. Its waiter owns it.
struct Submission {
  // Constant once submitted.
  Command command;
  // First 16 bytes of SHA-256 over caller, scope and request id.
  std::string request_key;
  // The same over method and payload.
  std::string fingerprint;
  int16_t partition = 0;
  // The partition of its request row: the session's, except for creations with an id of the
  // caller's own.
  int16_t request_partition = 0;
  Deadline deadline;

  // Lane thread only, until Done.
  absl::StatusOr<Outcome> outcome = absl::UnknownError("not decided");
  // Its outcomes in groups that were sent, and of which it is unknown whether they committed: the
  // group that finds out answers with one of these.
  std::vector<Outcome> sent;

  virtual ~Submission() = default;
  // Called once, on the lane's thread, when `outcome` is final. May destroy the submission.
  virtual void Done() noexcept = 0;
};

}  // namespace sessiond::db
