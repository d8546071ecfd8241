// Resume tokens: where a watch stands, carried by the caller and believed only when this database's
// daemons made it, for the very watch it comes back with.
//
//   token = base64url( version | what the watch is doing | the position of each partition it
//                      watches, as a varint | the first 16 bytes of HMAC-SHA-256 )
//
// The HMAC also covers what is watched, which the token itself does not carry. A watch of one
// session has tokens of 28 bytes; one of everything, in 64 partitions, of about 300.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/watch/change.h"
#include "server/watch/interest.h"
#include "state_machine/page_token.h"

namespace sessiond::watch {

struct ResumePoint {
  // Of the partitions that are watched; 0 elsewhere.
  Positions positions;
  // The initial state was not complete yet: it is to be sent anew.
  bool in_initial_state = false;
};

// The tokens of one watch.
class ResumeTokens {
 public:
  // REQUIRES: both outlive this.
  ResumeTokens(const PageTokens& tokens, const Interest& interest, int partition_count);

  std::string Make(const ResumePoint& point) const;
  // INVALID_RESUME_TOKEN: anything that was not made for this watch, without saying what.
  absl::StatusOr<ResumePoint> Open(absl::string_view token) const;

 private:
  std::string Seal(absl::string_view body) const;

  const PageTokens& tokens_;
  const Interest& interest_;
  const int partition_count_;
  // Stands for what is watched.
  const std::string watched_;
};

}  // namespace sessiond::watch
