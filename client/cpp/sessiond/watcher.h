// A watch that resumes by itself, after lost connections and restarts of the daemon:
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
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "sessiond/stream_range.h"
#include "sessiond/v1/session_service.grpc.pb.h"

namespace sessiond {

struct WatchOptions {
  // The pause before a broken stream is resumed. While that fails, each further one is twice as
  // long, up to the maximum, and drawn between half and the whole of that, so that many watchers do
  // not return at the same time. A longer RetryInfo of the daemon takes precedence.
  absl::Duration backoff_initial = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(2);
  // After how long without a response the daemon is taken for dead, and the stream resumed on
  // another connection. 0: three heartbeat intervals; at least 40 s before a stream's bookmark,
  // because the daemon may read for 30 s before it sends anything.
  absl::Duration silence_max = absl::ZeroDuration();
  // Both are called, if set, by the thread that reads the responses, between two of them. Called
  // for every error, before the pause.
  std::function<void(const absl::Status& why, absl::Duration pause)> on_retry = {};
  // Called when a stream resumes after an error. `anew`: the initial state was not complete and is
  // sent again from its start; discard what was sent of it before.
  std::function<void(bool anew)> on_resume = {};
  // Called for every stream, if set, to add what it carries, as CallOptions::prepare.
  std::function<void(grpc::ClientContext& context)> prepare = {};
  // Makes another channel after a silence, when the old one's connection may be dead without
  // anybody knowing. Without it, the stream is resumed on the same channel, whose keepalive finds
  // that out within a minute. Client::Watch sets it.
  std::function<absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>>()> reconnect = {};
  // Ends the watch, as Stop does.
  std::stop_token stop = {};
  // Where the position is kept, if set. The watch begins behind it, whatever the request says; the
  // file is replaced as a whole, and on the disk, before each further step. Whoever stores what the
  // responses lead to in a database keeps the token there, in the same transaction.
  std::string token_file = {};
};

// Thread-safe, but only one thread at a time may read the responses.
class Watcher {
 public:
  // Does not connect yet. `request` is as of WatchSessions.
  Watcher(std::shared_ptr<grpc::ChannelInterface> channel, v1::WatchSessionsRequest request,
          WatchOptions options = {});
  // Ends the stream. REQUIRES: no thread reads the responses any more.
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // The initial state, if it was requested; then one bookmark, and then every change once and in
  // order, however often the stream breaks off. Heartbeats are not returned. A step waits until
  // there is a response: for ever, if necessary.
  //
  // The range ends after Stop; or else with a status that retrying cannot fix: INVALID_ARGUMENT
  // (INVALID_FIELD, INVALID_FILTER, INVALID_RESUME_TOKEN, …), UNIMPLEMENTED, and OUT_OF_RANGE
  // (RESUME_TOKEN_EXPIRED), after which a new watcher is needed, with initial_state and without a
  // resume_token; or with that of token_file. UNAVAILABLE, INTERNAL, UNKNOWN, CANCELLED and
  // DEADLINE_EXCEEDED that are no such refusal of the daemon's, an end without a status, and
  // silence are resumed after.
  StreamRange<v1::WatchSessionsResponse> Responses();

  // Ends the range at once, and all later ones. Any thread; not a signal handler.
  void Stop();

  // The position of the watch: a watcher with this resume_token misses nothing. A token from before
  // the bookmark starts the initial state again: discard what was sent of it before. A response is
  // covered by the token after the next step, so the token may be stored at any time. Heartbeats
  // advance it. Until the first response it is the request's own.
  std::string resume_token() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace sessiond
