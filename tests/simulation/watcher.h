// A program that watches: the stream is a real Watching, against the daemon's real hub. It keeps
// its last token, and goes on from there on any daemon. What it gets is compared with the history:
// every event that concerns it, once, in order, and as it was.
#pragma once

#include <atomic>
#include <coroutine>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/watch/interest.h"
#include "sessiond/v1/session_service.pb.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/history.h"

namespace sessiond::simulation {

// As rpc::Stream, to a client that reads when it likes.
class ModelStream {
 public:
  struct Signal {
    // co_await: the stream's fiber waits, and then goes on with the coroutine.
    struct Waiter {
      explicit Waiter(ModelStream& of) : stream(of) {}
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) {
        stream.suspended_ = handle;
        stream.waits_for_news_ = true;
      }
      void await_resume() const noexcept {}
      ModelStream& stream;
    };
    explicit Signal(ModelStream* of) : stream(of) {}
    void Set() { is_set = true; }
    Waiter Wait() { return Waiter(*stream); }

    ModelStream* stream;
    bool is_set = false;
  };
  struct News {
    explicit News(ModelStream* of) : signal(of) {}
    Signal signal;
    std::atomic<bool> over = false;
  };
  struct Written {
    explicit Written(ModelStream& of) : stream(of) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      stream.suspended_ = handle;
      stream.waits_for_news_ = false;
    }
    bool await_resume() const noexcept { return !stream.over(); }
    ModelStream& stream;
  };
  static constexpr bool kNow = true, kWithNext = false;

  ModelStream(Scheduler& scheduler, std::shared_ptr<Process> process, Instant until)
      : scheduler_(scheduler), process_(std::move(process)), until_(until) {}

  Written Write(const v1::WatchSessionsResponse& reply) { return Write("", reply); }
  Written Write(const std::string& part, const v1::WatchSessionsResponse& rest, bool = kNow);
  bool Hold(std::size_t) { return true; }
  bool over() const { return process_->crashed || left || scheduler_.now() >= until_; }
  bool draining() const { return process_->draining; }
  const std::shared_ptr<News>& news() const { return news_; }

  // Runs the coroutine to its end. The client takes replies by `read`, and reads slowly.
  absl::Status Run(Awaitable<absl::Status> task,
                   const std::function<void(const v1::WatchSessionsResponse&)>& read,
                   absl::Duration slowness);

  // The client has had enough.
  bool left = false;

 private:
  Scheduler& scheduler_;
  const std::shared_ptr<Process> process_;
  const Instant until_;
  const std::shared_ptr<News> news_ = std::make_shared<News>(this);
  std::coroutine_handle<> suspended_;
  bool waits_for_news_ = false;
  // Sent and not yet read: lost if the stream breaks off.
  std::deque<v1::WatchSessionsResponse> pipe_;
};

class Watcher {
 public:
  struct Options {
    v1::WatchSessionsRequest request;
    absl::Duration slowness;
  };

  Watcher(Surroundings all, const History& history, Options options);

  // One stream, until it breaks off.
  void Watch(const std::shared_ptr<Daemon>& daemon, Instant until);
  // Whether it has everything there is.
  bool UpToDate() const;
  // What it lacks, if it does.
  std::string Missing() const;

  int64_t deliveries = 0, resumes = 0, expired = 0;

 private:
  void Read(const v1::WatchSessionsResponse& response);
  void ReadSession(const v1::Session& session);
  void ReadBookmark();
  void ReadChange(const v1::WatchSessionsResponse& response);
  void Begin();
  // Nothing: the event does not concern it.
  std::optional<bool> Judge(const Record& record) const;
  bool CoveredByInitialState(const Record& record) const;
  // Whether it may go without an event.
  bool MayLack(const Record& record) const;
  std::optional<std::size_t> NextOf(int16_t partition) const;
  const ReadPages::Page& PageOf(const v1::Session& session) const;
  void Fail(const std::string& why) const;

  const Surroundings all_;
  const History& history_;
  const Options options_;
  const std::shared_ptr<const watch::Interest> interest_;
  // Whether its filter asks for what a removed session does not say any more.
  const bool asks_for_payload_;

  std::string token_;
  bool wants_initial_state_;
  // Whether the bookmark has come.
  bool bookmarked_ = false;
  // Whether it began with the initial state, which these pages were.
  bool had_initial_state_ = false;
  ReadPages pages_;
  std::size_t sessions_read_ = 0;
  // By partition: the last event that it had, or that it did not ask for.
  watch::Positions cursor_;
  bool begun_ = false;
};

}  // namespace sessiond::simulation
