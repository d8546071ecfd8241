#include "server/watch/feed.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/watch/rewind.h"
#include "state_machine/decide.h"
#include "state_machine/timestamps.h"

namespace sessiond::watch {
namespace {

// What may come from memory within this is not read: a group is told of right behind its commit.
constexpr absl::Duration kGrace = absl::Milliseconds(5);

// Of one read: some milliseconds, so that neither memory nor the others' wait grow.
constexpr int64_t kFetchMax = 500;

constexpr absl::Duration kReadTimeout = absl::Seconds(5);

// While the database is away.
constexpr absl::Duration kRetryPeriod = absl::Milliseconds(100);

// Silence behind which the database is asked less often.
constexpr absl::Duration kSilence = absl::Seconds(1);

// How often the dispatcher looks for heartbeats: they are due by the second.
constexpr absl::Duration kBeatPeriod = absl::Milliseconds(100);

// Streams wait for their first look, and none is refused it: as many as ever watch.
constexpr int kReadsWaitingMax = 100'000;

HubOptions WithKick(HubOptions options, std::function<void()> kick) {
  options.on_missing = std::move(kick);
  return options;
}

}  // namespace

Feed::Feed(FeedOptions options, db::SessionStore& store, db::CommittedListener& listener)
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
              .waiting_max = kReadsWaitingMax,
              .primary = store.primary()}),
      polls_({.dsn = options_.dsn, .connections = 1, .primary = store.primary()}) {
  listener.on_committed = [this](std::vector<db::CommittedEvent> events) {
    const std::lock_guard<std::mutex> lock(mutex_);
    inbox_.insert(inbox_.end(), std::make_move_iterator(events.begin()),
                  std::make_move_iterator(events.end()));
    arrived_.notify_one();
  };
  dispatcher_ = std::thread([this] { Dispatch(); });
  poller_ = std::thread([this] { Poll(); });
}

Feed::~Feed() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    arrived_.notify_one();
    disturbed_.notify_one();
  }
  polls_.Shutdown();
  reads_.Shutdown();
  dispatcher_.join();
  poller_.join();
}

void Feed::Dispatch() {
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

void Feed::Measure(bool from_memory, const std::vector<ChangePtr>& changes) const {
  const absl::Time now = store_.Now();
  for (const ChangePtr& change : changes)
    options_.on_change(from_memory, now - FromProto(change->event.event_time()));
}

bool Feed::Rest(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  WaitAtMost(duration, disturbed_, lock, [this] { return stopping_ || kicked_; });
  kicked_ = false;
  return !stopping_;
}

void Feed::Poll() {
  SteadyTime next_poll, moved = SteadyTime::Now();
  for (absl::Duration rest = absl::InfiniteDuration(); Rest(rest);) {
    if (!hub_.awake()) {
      rest = absl::InfiniteDuration();
      continue;
    }
    const SteadyTime now = SteadyTime::Now();
    if (now >= next_poll) {
      const auto results = Read({db::PartitionStatesSql()});
      if (results.ok()) {
        hub_.Saw(db::ReadPartitionStates(results->front(), store_.partition_count()).positions);
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

// False: the database does not answer.
bool Feed::FetchMissing() {
  for (;;) {
    const std::vector<Range> missing = hub_.Missing(kFetchMax);
    if (missing.empty()) return true;
    if (!Fetch(missing).ok()) return false;
  }
}

absl::Status Feed::Fetch(const std::vector<Range>& ranges) {
  absl::StatusOr<db::StoredEvents> stored = ReadStored(ranges);
  if (!stored.ok()) return stored.status();
  Present(&*stored);
  std::vector<ChangePtr> changes = ChangesOf(*std::move(stored));
  Measure(/*from_memory=*/false, changes);
  hub_.Fill(ranges, std::move(changes));
  return absl::OkStatus();
}

absl::StatusOr<db::StoredEvents> Feed::ReadStored(const std::vector<Range>& ranges) {
  for (;;) {
    const auto events = Read(db::StoredEventsTrip(ranges));
    if (!events.ok()) return events.status();
    db::StoredEvents stored = db::ReadStoredEvents(*events, store_.partition_count());
    // Of whatever filters will look at, once it is in the log.
    std::vector<db::Sql> trip = db::StoredRestTrip(stored, db::Rewinding::kAll, kAppendedBytesMax);
    if (trip.empty()) return stored;
    const auto rest = Read(std::move(trip));
    if (!rest.ok()) return rest.status();
    if (db::AddStoredRest(*rest, &stored)) return stored;
  }
}

void Feed::Present(db::StoredEvents* stored) {
  bool refreshed = false;
  for (auto& [id, session] : stored->sessions) {
    const auto find = [&, &session = session] {
      return store_.catalog().Find(session->workflow(), session->workflow_revision());
    };
    auto workflow = find();
    // Another daemon made it.
    if (workflow == nullptr && !std::exchange(refreshed, true)) {
      absl::Notification done;
      store_.RefreshWorkflows(SteadyTime::Now() + kReadTimeout,
                              [&](absl::Status) { done.Notify(); });
      done.WaitForNotification();
      workflow = find();
    }
    if (workflow != nullptr) sessiond::Present(*workflow, store_.Now(), session.get());
  }
}

absl::StatusOr<std::vector<db::Result>> Feed::Read(std::vector<db::Sql> trip) {
  db::QueryPool::Results results = absl::UnknownError("not run");
  absl::Notification done;
  polls_.Run(std::move(trip), SteadyTime::Now() + kReadTimeout, [&](db::QueryPool::Results read) {
    results = std::move(read);
    done.Notify();
  });
  done.WaitForNotification();
  return results;
}

}  // namespace sessiond::watch
