// Resume tokens: the position of a watch. The caller carries the token, and it is accepted only if
// this database's daemons made it, and only for the same watch.
//
//   token = base64url( version | what the watch is doing | the position of each partition it
//                      watches, as a varint | the first 16 bytes of HMAC-SHA-256 )
//
// The HMAC also covers what is watched, which is not in the token itself. Tokens of a watch of one
// session have 28 bytes; of a watch of everything, in 64 partitions, about 300.
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
  std::string Seal(absl::string_view body) const;

  const PageTokens& tokens_;
  const Interest& interest_;
  const int partition_count_;
  // A digest of what is watched.
  const std::string watched_;
};

}  // namespace sessiond::watch
