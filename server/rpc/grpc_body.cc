#include "server/rpc/grpc_body.h"

#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {

absl::Status CheckArrival(absl::Duration waited, std::size_t grown, bool draining,
                          const Patience& patience) {
  if (draining && waited >= patience.request_in_drain) return Draining();
  if (waited >= patience.request)
    return absl::DeadlineExceededError(
        absl::StrCat("The request did not come in time: all of it has to be here within ",
                     absl::FormatDuration(patience.request), "."));
  return grown > patience.growth_max ? Overloaded("bytes of requests") : absl::OkStatus();
}

void GrpcBody::Complete(bool ok) {
  reading_ = false;
  if (!refused_.ok()) {
    if (waiter_) Resume();
    return;
  }
  if (ok && !heard_) {
    heard_ = true;
    return Read(more_);
  }
  if (ok) {
    refused_ = Refusal(v1::INVALID_FIELD,
                       "The call has two request messages, and may have one: it is not a stream.");
  }
  End();
}

void GrpcBody::Look(absl::Duration waited, std::size_t grown) {
  // What has come may wait for this thread, and not for its peer: then it has its turn before the
  // next look. Unless it is too much even for that.
  const bool at_once = grown > 2 * waits_.patience().growth_max;
  refused_ =
      CheckArrival(waited, ++looks_ > 1 || at_once ? grown : 0, draining_(), waits_.patience());
  if (refused_.ok()) return;
  End();
}

}  // namespace sessiond::rpc
