// Keeps the hub fed, on two threads, so that neither a lane nor a slow database holds up a watch:
//
//   lanes ──▶ inbox ──▶ dispatcher ──▶ hub     what this daemon committed, and the heartbeats
//   database ─────────▶ poller ──────▶ hub     what it did not see: other daemons' changes
//
// The poller asks how far the partitions are, one cheap statement, and reads what is missing. It
// rests while nobody watches. LISTEN/NOTIFY would be told sooner, but takes a lock of the whole
// server at each commit.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/base/committed.h"
#include "db/session_store.h"
#include "db/watch_reader.h"
#include "server/watch/hub.h"

namespace sessiond::watch {

struct FeedOptions {
  std::string dsn;
  HubOptions hub;
  // How often the database is asked; the second after a second in which nothing moved.
  absl::Duration poll_period = absl::Milliseconds(25);
  absl::Duration idle_poll_period = absl::Milliseconds(100);
  // For what streams read: their first look, and what is no more in memory. 2: they share what the
  // lanes leave of the database.
  int read_connections = 2;
  // Told of every change that reaches the hub, and how long after its own time. On the feed's
  // threads.
  std::function<void(bool from_memory, absl::Duration lag)> on_change = [](bool, absl::Duration) {};
};

class Feed {
 public:
  // Starts. REQUIRES: the store outlives this until Stop, and `listener`, which the store was
  // opened with, outlives both.
  Feed(FeedOptions options, db::SessionStore& store, db::CommittedListener& listener);
  // REQUIRES: the store is gone, or drained: a lane may still tell.
  ~Feed();
  Feed(const Feed&) = delete;

  Hub& hub() { return hub_; }
  // For what streams read.
  db::WatchReader& reads() { return reads_; }

 private:
  // Dispatcher thread.
  void Dispatch();
  // Either thread.
  void Measure(bool from_memory, const std::vector<ChangePtr>& changes) const;
  // Poller thread, all of these.
  void Poll();
  bool FetchMissing();
  absl::Status Fetch(const std::vector<Range>& ranges);
  // Waits to be kicked, at most so long. False: to be ended.
  bool Rest(absl::Duration duration);

  const FeedOptions options_;
  db::SessionStore& store_;
  Hub hub_;
  db::WatchReader reads_;
  // The poller's own, so that no stream keeps it waiting.
  db::WatchReader polls_;

  std::mutex mutex_;
  std::condition_variable arrived_, disturbed_;
  // Guarded by the mutex: what lanes have told (arrived_), and whether there is something to fetch,
  // or the end has come (disturbed_).
  std::vector<db::CommittedEvent> inbox_;
  bool kicked_ = false;
  bool stopping_ = false;

  std::thread dispatcher_;
  std::thread poller_;
};

}  // namespace sessiond::watch
