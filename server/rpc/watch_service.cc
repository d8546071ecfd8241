#include "server/rpc/watch_service.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/watch/interest.h"
#include "server/watch/watching.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond::rpc {
namespace {

using v1::WatchSessionsRequest;

constexpr absl::Duration kHeartbeatMin = absl::Seconds(1), kHeartbeatMax = absl::Minutes(10);

absl::Status CheckRequest(const WatchSessionsRequest& request) {
  if (request.initial_state() && !request.resume_token().empty()) {
    return InvalidField("initial_state",
                        "cannot be asked for with a resume_token, which goes on where it is");
  }
  if (!request.has_heartbeat_interval()) return absl::OkStatus();
  const absl::Duration interval = FromProto(request.heartbeat_interval());
  if (interval < kHeartbeatMin || interval > kHeartbeatMax)
    return InvalidField("heartbeat_interval", "must be from 1 second to 10 minutes");
  return absl::OkStatus();
}

}  // namespace

Awaitable<absl::Status> WatchService::WatchSessions(CallInfo call, Watch& stream) {
  std::optional<WatchSessionsRequest> request = co_await stream.Read();
  if (!request.has_value()) co_return absl::OkStatus();
  auto interest = watch::Interest::Of(*request, call.asker.scope, store_.partition_count());
  if (!interest.ok()) co_return interest.status();
  if (auto valid = CheckRequest(*request); !valid.ok()) co_return valid;
  watch::Watching watching(store_, feeder_.hub(), feeder_.reads(), stream, *std::move(interest),
                           *request);
  std::string resume_token = std::move(*request->mutable_resume_token());
  // A watch may last for days, and no longer needs its request.
  request.reset();
  co_return co_await watching.Run(std::move(resume_token));
}

}  // namespace sessiond::rpc
