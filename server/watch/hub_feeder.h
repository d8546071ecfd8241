// Feeds the hub, on two threads, so that neither a lane nor a slow database holds up a watch:
//
//   lanes ──▶ inbox ──▶ publisher ───▶ hub     what this daemon committed, and the heartbeats
//   database ─────────▶ poller ──────▶ hub     what it did not see: other daemons' changes
//
// The poller asks how far the partitions are, with one cheap statement, and reads what is missing.
// It pauses while there are no watches. LISTEN/NOTIFY would be faster, but takes a lock of the
// whole server at each commit.
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

struct HubFeederOptions {
  std::string dsn;
  HubOptions hub;
  // How often the database is asked; the idle period once nothing new was found for a second.
  absl::Duration poll_period = absl::Milliseconds(25);
  absl::Duration idle_poll_period = absl::Milliseconds(100);
  // For the reads of streams: their initial read, and changes that are no longer in memory. 2: they
  // share with the lanes the capacity of the database.
  int read_connections = 2;
  // Called for every change that reaches the hub, with its delay since its own time. On the
  // feeder's threads.
  std::function<void(bool from_memory, absl::Duration lag)> on_change = [](bool, absl::Duration) {};
};

class HubFeeder {
 public:
  // Starts. REQUIRES: `listener`, which the store was opened with, outlives both.
  HubFeeder(HubFeederOptions options, db::SessionStore& store, db::CommittedListener& listener);
  // REQUIRES: the store is gone, or drained: its lanes may publish until then.
  ~HubFeeder();
  HubFeeder(const HubFeeder&) = delete;

  Hub& hub() { return hub_; }
  // For the reads of streams.
  db::WatchReader& reads() { return reads_; }

 private:
  // Publisher thread.
  void Publish();
  // On either thread.
  void Measure(bool from_memory, const std::vector<ChangePtr>& changes) const;
  // All of these on the poller thread.
  void Poll();
  bool FetchMissing();
  absl::Status Fetch(const std::vector<Range>& ranges);
  // Waits until it is woken, at most this long. False: stop.
  bool Rest(absl::Duration duration);

  const HubFeederOptions options_;
  db::SessionStore& store_;
  Hub hub_;
  db::WatchReader reads_;
  // The poller's own, so that it does not wait for streams.
  db::WatchReader polls_;

  std::mutex mutex_;
  std::condition_variable arrived_, disturbed_;
  // Guarded by the mutex: what the lanes have published (arrived_), and whether there is something
  // to fetch, or the feeder is to stop (disturbed_).
  std::vector<db::CommittedEvent> inbox_;
  bool kicked_ = false;
  bool stopping_ = false;

  std::thread publisher_;
  // The most positions per read: it takes some milliseconds, so that neither memory nor the others'
  // wait grow. Poller only: how many a read may have now.
  static constexpr int64_t kFetchMax = 500;
  int64_t fetch_max_ = kFetchMax;
  // The partition that comes first: behind one that could not be read.
  int fetch_first_ = 0;
  std::thread poller_;
};

}  // namespace sessiond::watch
