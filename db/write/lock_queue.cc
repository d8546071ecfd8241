#include "db/write/lock_queue.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

// Between two checks of what is locked: nothing notifies us when a lock is released. Short compared
// with what a caller waits then; costs PostgreSQL a hundredth of a core.
constexpr absl::Duration kPause = absl::Milliseconds(20);

// How long what was found locked is remembered: callers that were refused retry within that.
constexpr absl::Duration kRemembered = absl::Seconds(10);

// How long the connection is held open while nothing waits.
constexpr absl::Duration kIdle = absl::Seconds(10);

template <class Map, class Key>
bool Remembers(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found != map.end() && found->second > SteadyTime::Now();
}

template <class Map>
void Forget(Map& map, SteadyTime now) {
  absl::erase_if(map, [now](const auto& item) { return item.second <= now; });
}

}  // namespace

LockQueue::LockQueue(LaneOptions options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : options_(std::move(options)), catalog_(catalog), clock_(clock) {}

LockQueue::~LockQueue() { Drain(); }

void LockQueue::Start() {
  thread_ = std::thread([this] { Run(); });
}

std::size_t LockQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

void LockQueue::Drain() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

// -------------------------------------------------------------------------------------------------
// arrivals

void LockQueue::TakeOver(std::vector<Submission*>* group) {
  std::vector<Submission*> refused;
  {
    const std::lock_guard lock(mutex_);
    if (sessions_.empty() && locked_sessions_.empty() && locked_partitions_.empty()) return;
    // Earlier commands of its session are taken with it, so that it does not overtake them: a
    // creation may belong here because of its request's partition alone.
    absl::flat_hash_set<std::string> sessions;
    for (const Submission* submission : *group) {
      if (BelongsHere(*submission)) sessions.insert(submission->command.session_id);
    }
    std::erase_if(*group, [&](Submission* submission) {
      if (!sessions.contains(submission->command.session_id)) return false;
      if (!Push(submission, /*alone=*/false)) refused.push_back(submission);
      return true;
    });
  }
  for (Submission* submission : refused) submission->Done();
}

void LockQueue::Add(const std::vector<Blocked>& blocked) {
  std::vector<Submission*> refused;
  {
    const std::lock_guard lock(mutex_);
    for (const Blocked& one : blocked) {
      Remember(one);
      if (!Push(one.submission, one.by == Blocked::By::kSomethingElse))
        refused.push_back(one.submission);
    }
  }
  for (Submission* submission : refused) submission->Done();
}

bool LockQueue::BelongsHere(const Submission& submission) {
  return sessions_.contains(submission.command.session_id) ||
         Remembers(locked_sessions_, submission.command.session_id) ||
         Remembers(locked_partitions_, submission.partition) ||
         Remembers(locked_partitions_, submission.request_partition);
}

bool LockQueue::Push(Submission* submission, bool alone) {
  if (waiting_.size() >= options_.inbox.items_max) {
    submission->outcome = Overloaded("changes");
    return false;
  }
  const SteadyTime until = SteadyTime::Now() + options_.committer.settings.lock_timeout;
  waiting_.push_back({submission, until, alone});
  ++sessions_[submission->command.session_id];
  changed_.notify_all();
  return true;
}

void LockQueue::Remember(const Blocked& blocked) {
  const SteadyTime until = SteadyTime::Now() + kRemembered;
  if (blocked.by == Blocked::By::kSession)
    locked_sessions_[blocked.submission->command.session_id] = until;
  if (blocked.by == Blocked::By::kPartition) locked_partitions_[blocked.partition] = until;
}

// -------------------------------------------------------------------------------------------------
// attempts

void LockQueue::Run() {
  Committer committer(options_.committer, catalog_, clock_);
  const auto some = [this] { return closed_ || !waiting_.empty(); };
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!WaitAtMost(kIdle, changed_, lock, some)) {
      committer.Disconnect();
      changed_.wait(lock, some);
    }
    if (waiting_.empty()) return;
    lock.unlock();
    if (!Try(committer)) absl::SleepFor(kPause);
    lock.lock();
  }
}

bool LockQueue::Try(Committer& committer) {
  std::vector<Waiting> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting.assign(waiting_.begin(), waiting_.end());
  }
  bool any = AnswerLate(&waiting);
  if (waiting.empty()) return any;
  const Due due = Sort(committer, waiting);
  absl::Span<Submission* const> free = due.free;
  for (; !free.empty(); free.remove_prefix(std::min(free.size(), options_.inbox.group_items_max)))
    any |= Settle(committer, free.first(std::min(free.size(), options_.inbox.group_items_max)));
  // In turn, until one has waited its moment without success.
  for (std::size_t i = 0; i < due.doubtful.size(); ++i) {
    if (!Settle(committer, due.doubtful[turn_++ % due.doubtful.size()])) break;
    any = true;
  }
  return any;
}

bool LockQueue::AnswerLate(std::vector<Waiting>* waiting) {
  std::vector<Submission*> late;
  const SteadyTime now = SteadyTime::Now();
  std::erase_if(*waiting, [&](const Waiting& one) {
    if (absl::Status why = one.submission->deadline.Check(now); !why.ok()) {
      one.submission->outcome = std::move(why);
    } else if (one.until <= now) {
      one.submission->outcome = SqlError("55P03", "waiting", "waited beside its lane");
    } else {
      return false;
    }
    late.push_back(one.submission);
    return true;
  });
  Finish(late);
  return !late.empty();
}

LockQueue::Due LockQueue::Sort(Committer& committer, const std::vector<Waiting>& waiting) {
  std::vector<Submission*> all;
  absl::flat_hash_set<absl::string_view> alone;
  for (const Waiting& one : waiting) {
    all.push_back(one.submission);
    if (one.alone) alone.insert(one.submission->command.session_id);
  }
  const auto found = committer.FindBlocked(all);
  // If the database is gone, they are tried, and so answered.
  if (!found.ok() && ReasonOf(found.status()) != v1::LOCK_TIMEOUT) return {.free = all};
  absl::flat_hash_map<const Submission*, const Blocked*> blocked;
  if (found.ok()) {
    for (const Blocked& one : *found) blocked[one.submission] = &one;
  }

  Due due;
  // By partition, and by session; ordered, so that each gets its turn.
  std::map<std::pair<int, absl::string_view>, std::vector<Submission*>> doubtful;
  const std::lock_guard lock(mutex_);
  Forget(locked_sessions_, SteadyTime::Now());
  Forget(locked_partitions_, SteadyTime::Now());
  for (Submission* submission : all) {
    const absl::string_view id = submission->command.session_id;
    const auto by = blocked.find(submission);
    if (by != blocked.end()) {
      Remember(*by->second);
      if (by->second->by == Blocked::By::kPartition)
        doubtful[{by->second->partition, ""}].push_back(submission);
      continue;
    }
    if (!found.ok() || alone.contains(id)) {
      doubtful[{-1, id}].push_back(submission);
      continue;
    }
    locked_sessions_.erase(id);
    locked_partitions_.erase(submission->partition);
    locked_partitions_.erase(submission->request_partition);
    due.free.push_back(submission);
  }
  for (auto& [key, group] : doubtful) due.doubtful.push_back(std::move(group));
  return due;
}

// Without those that follow another command of their session which is not among them.
std::vector<Submission*> LockQueue::InTurn(absl::Span<Submission* const> asked) {
  const absl::flat_hash_set<const Submission*> among(asked.begin(), asked.end());
  absl::flat_hash_set<absl::string_view> taken;
  std::vector<Submission*> in_turn;
  const std::lock_guard lock(mutex_);
  for (const Waiting& one : waiting_) {
    const absl::string_view id = one.submission->command.session_id;
    if (!among.contains(one.submission)) {
      taken.insert(id);
    } else if (!taken.contains(id)) {
      in_turn.push_back(one.submission);
    }
  }
  return in_turn;
}

bool LockQueue::Settle(Committer& committer, absl::Span<Submission* const> asked) {
  const std::vector<Submission*> group = InTurn(asked);
  const std::vector<Blocked> blocked = db::Settle(committer, group);
  absl::flat_hash_set<const Submission*> still;
  {
    const std::lock_guard lock(mutex_);
    absl::flat_hash_set<const Submission*> alone;
    for (const Blocked& one : blocked) {
      Remember(one);
      still.insert(one.submission);
      if (one.by == Blocked::By::kSomethingElse) alone.insert(one.submission);
    }
    for (Waiting& one : waiting_) one.alone |= alone.contains(one.submission);
  }
  std::vector<Submission*> done;
  for (Submission* submission : group) {
    if (!still.contains(submission)) done.push_back(submission);
  }
  Finish(done);
  return !done.empty();
}

void LockQueue::Finish(const std::vector<Submission*>& done) {
  if (done.empty()) return;
  {
    const absl::flat_hash_set<const Submission*> gone(done.begin(), done.end());
    const std::lock_guard lock(mutex_);
    std::erase_if(waiting_, [&](const Waiting& one) { return gone.contains(one.submission); });
    for (const Submission* submission : done) {
      const auto session = sessions_.find(submission->command.session_id);
      if (--session->second == 0) sessions_.erase(session);
    }
  }
  for (Submission* submission : done) submission->Done();
}

}  // namespace sessiond::db
