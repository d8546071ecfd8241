// A watch that goes on by itself, over lost connections and restarts of the daemon:
//
//   sessiond::v1::WatchSessionsRequest request;
//   request.set_resume_token(Load());  // Or set_initial_state(true), the first time.
//   sessiond::Watcher watcher(sessiond::MakeChannel("127.0.0.1:7377"), request);
//   for (const auto& response : watcher.Responses()) {
//     if (!response.ok()) return response.status();
//     Use(*response);
//     Save(response->resume_token());
//   }
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "sessiond/stream_range.h"
#include "sessiond/v1/session_service.grpc.pb.h"

namespace sessiond {

struct WatchOptions {
  // The pause before a stream that broke off is resumed. While it cannot be, each further one is
  // twice as long, up to the maximum, and somewhere between half and the whole of that, so that
  // many watchers do not come back as one. A longer RetryInfo of the daemon holds.
  absl::Duration backoff_initial = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(2);
  // How long nothing may be heard before the daemon is taken for dead, and the stream resumed on
  // another connection. 0: three heartbeat intervals; at least 40 s before a stream's bookmark,
  // because the daemon may read for 30 s until it has something to say.
  absl::Duration silence_max = absl::ZeroDuration();
  // Both are called, if given, by the thread that walks through the responses, between two of them.
  // Told of every trouble, before the pause.
  std::function<void(const absl::Status& why, absl::Duration pause)> on_retry;
  // Told when a stream goes on after trouble. `anew`: the initial state was not complete and is
  // told again from its beginning; what was told of it before no longer counts.
  std::function<void(bool anew)> on_resume;
};

// Thread-safe, except that one thread at a time walks through the responses.
class Watcher {
 public:
  // Connects to nothing yet. `request` is as of WatchSessions.
  Watcher(std::shared_ptr<grpc::ChannelInterface> channel, v1::WatchSessionsRequest request,
          WatchOptions options = {});
  // Ends the stream. REQUIRES: nobody walks through the responses any more.
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // The initial state, if it was asked for; then one bookmark, and then every change once and in
  // its order, however often the stream breaks off. Heartbeats are kept back.
  // A step waits until there is a response: for ever, where need be.
  //
  // The range ends after Stop; or else with a status, which is one that does not pass by itself:
  // INVALID_ARGUMENT (INVALID_FIELD, INVALID_FILTER, INVALID_RESUME_TOKEN, …), UNIMPLEMENTED, and
  // OUT_OF_RANGE (RESUME_TOKEN_EXPIRED), from which the way out is another watcher, with
  // initial_state and without a resume_token.
  StreamRange<v1::WatchSessionsResponse> Responses();

  // Ends the range at once, and those begun later. Any thread; not a signal handler.
  void Stop();

  // Where the watch stands: a watcher with this resume_token misses nothing. One from before the
  // bookmark begins the initial state anew: what was told of it before no longer counts. A response
  // counts when the step behind it is made, so that this may be kept at any time. Heartbeats move
  // it on. The request's own as long as nothing was heard.
  std::string resume_token() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace sessiond
