// Resume tokens: the position of a watch. The caller carries the token, and it is accepted only if
// this database's daemons made it, and only for the same watch.
//
//   token = base64url( version | salt | encrypted | seal )
//   encrypted: what the watch is doing, and the position of each partition it watches, as a varint
//
// The seal is the first 16 bytes of an HMAC-SHA-256 over all of it in the clear, and over what is
// watched and in which scope, which is not in the token itself. It is also the initial counter of
// the encryption (AES-128-CTR), as in SIV modes (RFC 5297), so that no counter is used for two
// tokens. Positions are secret because they count everybody's changes; the salt hides whether there
// were any between two tokens. Tokens of a watch of one session have about 40 bytes; of a watch of
// everything, in 64 partitions, about 300.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/watch/change.h"
#include "server/watch/interest.h"
#include "state_machine/page_token.h"

namespace sessiond::watch {

struct ResumePoint {
  // For the watched partitions; 0 for others.
  Positions positions;
  // The initial state was not complete yet: it must be sent again.
  bool in_initial_state = false;
};

// The tokens of one watch.
class ResumeTokens {
 public:
  // REQUIRES: both outlive this.
  ResumeTokens(const PageTokens& tokens, const Interest& interest, int partition_count);

  std::string Make(const ResumePoint& point) const;
  // INVALID_RESUME_TOKEN: anything that was not made for this watch, without saying why.
  absl::StatusOr<ResumePoint> Open(absl::string_view token) const;

 private:
  std::string Seal(absl::string_view clear) const;
  // Positions of a watch that does not see everything have one length, whatever they are.
  bool HidesSizes() const { return !interest_.scope().everything(); }

  const PageTokens& tokens_;
  const Interest& interest_;
  const int partition_count_;
  // A digest of what is watched, and the key that hides positions.
  const std::string watched_, key_;
};

}  // namespace sessiond::watch
