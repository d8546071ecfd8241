#include "server/watch/hub_feeder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/time/clock.h"
#include "db/base/coroutine.h"
#include "db/base/failpoint.h"
#include "server/watch/change.h"
#include "state_machine/timestamps.h"

namespace sessiond::watch {
namespace {

// Changes that may come from memory within this time are not read: a lane publishes a group right
// after its commit.
constexpr absl::Duration kGrace = absl::Milliseconds(5);

constexpr absl::Duration kPollTimeout = absl::Seconds(5);

// While the database is unreachable.
constexpr absl::Duration kRetryPeriod = absl::Milliseconds(100);

// After this long without changes the database is asked less often.
constexpr absl::Duration kSilence = absl::Seconds(1);

// How often the publisher looks for heartbeats: they are due by the second.
constexpr absl::Duration kBeatPeriod = absl::Milliseconds(100);

// Streams queue for their first read, and none is refused it: as many as ever watch.
constexpr int kReadsWaitingMax = 100'000;

HubOptions WithKick(HubOptions options, std::function<void()> kick) {
  options.on_missing = std::move(kick);
  return options;
}

}  // namespace

HubFeeder::HubFeeder(HubFeederOptions options, db::SessionStore& store,
                     db::CommittedListener& listener)
    : options_(std::move(options)),
      store_(store),
      hub_(WithKick(options_.hub,
                    [this] {
                      const std::lock_guard<std::mutex> lock(mutex_);
                      kicked_ = true;
                      disturbed_.notify_one();
                    }),
           listener),
      reads_({.dsn = options_.dsn,
              .connections = options_.read_connections,
              .waiting_max = kReadsWaitingMax},
             store),
      polls_({.dsn = options_.dsn, .timeout = kPollTimeout}, store) {
  listener.on_committed = [this](std::vector<db::CommittedEvent> events) {
    const std::lock_guard<std::mutex> lock(mutex_);
    inbox_.insert(inbox_.end(), std::make_move_iterator(events.begin()),
                  std::make_move_iterator(events.end()));
    arrived_.notify_one();
  };
  publisher_ = std::thread([this] { Publish(); });
  poller_ = std::thread([this] { Poll(); });
}

HubFeeder::~HubFeeder() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    arrived_.notify_one();
    disturbed_.notify_one();
  }
  polls_.Shutdown();
  reads_.Shutdown();
  publisher_.join();
  poller_.join();
}

void HubFeeder::Publish() {
  for (;;) {
    std::vector<db::CommittedEvent> events;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      WaitAtMost(kBeatPeriod, arrived_, lock, [this] { return stopping_ || !inbox_.empty(); });
      if (stopping_) return;
      events.swap(inbox_);
    }
    if (!events.empty()) {
      std::vector<ChangePtr> changes = ChangesOf(std::move(events));
      Measure(/*from_memory=*/true, changes);
      hub_.Publish(std::move(changes));
    }
    hub_.Beat(SteadyTime::Now());
  }
}

void HubFeeder::Measure(bool from_memory, const std::vector<ChangePtr>& changes) const {
  const absl::Time now = store_.Now();
  for (const ChangePtr& change : changes)
    options_.on_change(from_memory, now - FromProto(change->event.event_time()));
}

bool HubFeeder::Rest(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  WaitAtMost(duration, disturbed_, lock, [this] { return stopping_ || kicked_; });
  kicked_ = false;
  return !stopping_;
}

void HubFeeder::Poll() {
  SteadyTime next_poll, moved = SteadyTime::Now();
  for (absl::Duration rest = absl::InfiniteDuration(); Rest(rest);) {
    if (!hub_.awake()) {
      rest = absl::InfiniteDuration();
      continue;
    }
    const SteadyTime now = SteadyTime::Now();
    if (now >= next_poll) {
      const auto states = Wait(polls_.GetPartitions());
      if (states.ok()) {
        hub_.Saw(states->positions);
        if (!hub_.Missing(1).empty()) {
          moved = now;
          absl::SleepFor(kGrace);
        }
      }
      next_poll = now + (now - moved > kSilence ? options_.idle_poll_period : options_.poll_period);
    }
    rest = FetchMissing() ? std::max(next_poll - SteadyTime::Now(), absl::ZeroDuration())
                          : kRetryPeriod;
  }
}

// False: the database does not respond.
bool HubFeeder::FetchMissing() {
  for (;;) {
    const std::vector<Range> missing = hub_.Missing(fetch_max_, fetch_first_);
    if (missing.empty()) return true;
    const absl::Status fetched = Fetch(missing);
    // What cannot be read, a damaged page say, keeps no other partition waiting.
    if (!fetched.ok() && fetch_max_ == 1) {
      const Range& range = missing.front();
      if (fetch_first_ != range.partition + 1) {
        spdlog::error("watch: the change at {} of partition {} cannot be read: {}", range.upto,
                      range.partition, std::string(fetched.message()));
      }
      fetch_first_ = range.partition + 1;
    }
    // A slow database may give less of it in time.
    fetch_max_ = std::clamp<int64_t>(fetched.ok() ? 2 * fetch_max_ : fetch_max_ / 2, 1, kFetchMax);
    if (!fetched.ok()) return false;
  }
}

absl::Status HubFeeder::Fetch(const std::vector<Range>& ranges) {
  // With everything that any filter may look at, because it goes into the log.
  auto stored = Wait(polls_.GetEvents(ranges, db::Rewinding::kAll, kAppendedBytesMax));
  if (!stored.ok()) return stored.status();
  Reached(Failpoint::kChangesRead);
  const std::vector<Range> read = std::move(stored->ranges);
  std::vector<ChangePtr> changes = ChangesOf(*std::move(stored));
  Measure(/*from_memory=*/false, changes);
  hub_.Fill(read, std::move(changes));
  return absl::OkStatus();
}

}  // namespace sessiond::watch
