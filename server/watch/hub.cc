#include "server/watch/hub.h"

#include <algorithm>
#include <cassert>

namespace sessiond::watch {
namespace {

// How much one Take returns, and looks at: a stream writes that much, and then others get the lock.
// A stream whose client does not read holds it: a change may be large, and one is always returned.
constexpr std::size_t kTakenMax = 64;
constexpr std::size_t kTakenBytesMax = 256 << 10;
constexpr int kScannedMax = 4096;

// How much one Take, or RangesBetween, asks to be read.
constexpr int64_t kUnreadMax = 128;

// The longest run of removed positions that the log spans; after a longer one, the log starts
// again.
constexpr int64_t kHoleMax = 4096;

// A message takes about four times as much memory as on the wire.
std::size_t BytesOf(const Change& change) {
  std::size_t bytes = change.event.ByteSizeLong();
  if (change.session != nullptr) bytes += change.session->ByteSizeLong();
  if (change.before != nullptr) bytes += change.before->ByteSizeLong();
  for (const auto& message : change.messages) bytes += message.ByteSizeLong();
  return sizeof(Change) + 4 * bytes;
}

// Divides `budget` among ranges that ask for more.
void Limit(int64_t budget, std::vector<Range>* ranges) {
  for (std::size_t i = 0; i < ranges->size(); ++i) {
    if (budget == 0) return ranges->resize(i);
    Range& range = (*ranges)[i];
    const int64_t share = std::max<int64_t>(1, budget / static_cast<int64_t>(ranges->size() - i));
    range.upto = std::min(range.upto, range.after + share);
    budget -= range.upto - range.after;
  }
}

}  // namespace

std::vector<Range> RangesBetween(const Positions& after, const Positions& upto,
                                 const std::vector<int16_t>& partitions) {
  std::vector<Range> ranges;
  for (const int16_t p : partitions) {
    if (after[p] < upto[p]) ranges.push_back({p, after[p], upto[p]});
  }
  Limit(kUnreadMax, &ranges);
  return ranges;
}

Hub::Hub(HubOptions options, db::CommittedListener& listener)
    : options_(std::move(options)),
      listener_(listener),
      positions_(options.partition_count),
      seen_(options.partition_count),
      early_(options.partition_count),
      log_(options.partition_count) {}

void Hub::WakeAll(const Wakes& wakes) {
  for (const SubscriptionPtr& subscription : wakes) subscription->wake_();
}

// -------------------------------------------------------------------------------------------------
// watches

SubscriptionPtr Hub::Subscribe(std::shared_ptr<const Interest> interest, Positions from,
                               const Positions& now, SteadyTime time,
                               absl::Duration heartbeat_interval, std::function<void()> wake) {
  auto subscription =
      std::make_shared<Subscription>(std::move(interest), std::move(wake), heartbeat_interval);
  subscription->cursor_ = std::move(from);
  subscription->Spoke(time);
  bool first = false;
  {
    absl::MutexLock lock(&mutex_);
    first = subscriptions_.empty();
    if (first) positions_ = seen_ = now;
    listener_.listening = true;
    subscriptions_[subscription.get()] = subscription;
    subscription->group_ = GroupOf(subscription->interest_);
    subscription->group_->members.insert(subscription.get());
    subscription->beat_ = subscription->silent_until();
    beats_.insert({subscription->beat_, subscription.get()});
  }
  if (first) options_.on_missing();
  return subscription;
}

void Hub::Unsubscribe(const SubscriptionPtr& subscription) {
  absl::MutexLock lock(&mutex_);
  Group& group = *subscription->group_;
  group.live.erase(subscription.get());
  group.members.erase(subscription.get());
  if (group.members.empty()) RemoveGroup(group);
  beats_.erase({subscription->beat_, subscription.get()});
  subscriptions_.erase(subscription.get());
  if (subscriptions_.empty()) FallAsleep();
}

Group* Hub::GroupOf(const std::shared_ptr<const Interest>& interest) {
  std::string canonical = interest->Canonical();
  std::unique_ptr<Group>& group = groups_[canonical];
  if (group == nullptr) {
    group = std::make_unique<Group>();
    group->canonical = std::move(canonical);
    group->interest = interest;
    for (const std::string& key : interest->keys()) groups_by_key_[key].push_back(group.get());
    kinds_[static_cast<int>(interest->key_kind())] += static_cast<int>(interest->keys().size());
  }
  return group.get();
}

void Hub::RemoveGroup(Group& group) {
  const Interest& interest = *group.interest;
  for (const std::string& key : interest.keys()) {
    std::vector<Group*>& groups = groups_by_key_[key];
    groups.erase(std::find(groups.begin(), groups.end(), &group));
    if (groups.empty()) groups_by_key_.erase(key);
  }
  kinds_[static_cast<int>(interest.key_kind())] -= static_cast<int>(interest.keys().size());
  const std::string canonical = group.canonical;
  groups_.erase(canonical);
}

void Hub::FallAsleep() {
  listener_.listening = false;
  beats_.clear();
  order_.clear();
  log_bytes_ = 0;
  for (auto& log : log_) std::deque<Logged>().swap(log);
  for (auto& early : early_) early.clear();
}

bool Hub::awake() const {
  absl::MutexLock lock(&mutex_);
  return !subscriptions_.empty();
}

std::size_t Hub::subscriptions() const {
  absl::MutexLock lock(&mutex_);
  return subscriptions_.size();
}

Taken Hub::Take(Subscription& subscription) {
  Taken taken;
  absl::MutexLock lock(&mutex_);
  if (subscription.live_) TakeQueue(subscription, &taken);
  if (!subscription.live_ && taken.deliveries.empty()) {
    taken.unread = Unread(subscription);
    if (taken.unread.empty()) TakeLog(subscription, &taken);
  }
  taken.more |= !subscription.live_;
  taken.positions = subscription.cursor_;
  return taken;
}

void Hub::TakeQueue(Subscription& subscription, Taken* taken) {
  std::vector<Subscription::Mark>& queue = subscription.queue_;
  std::size_t count = 0;
  for (std::size_t bytes = 0; count < std::min(queue.size(), kTakenMax) && bytes < kTakenBytesMax;
       ++count) {
    const Subscription::Mark& mark = queue[count];
    const int64_t index = mark.position - Oldest(mark.partition);
    // It has been removed from the log since.
    if (index < 0) return FallBehind(subscription);
    const Logged& logged = log_[mark.partition][index];
    bytes += logged.bytes;
    taken->deliveries.push_back({logged.change, mark.matches});
    subscription.cursor_[mark.partition] = mark.position;
  }
  queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(count));
  taken->more = !queue.empty();
  if (queue.empty()) CatchUp(subscription);
}

// The watch has taken everything that the hub has seen, or does not want it.
void Hub::CatchUp(Subscription& subscription) {
  for (const int16_t p : subscription.interest().partitions())
    subscription.cursor_[p] = std::max(subscription.cursor_[p], positions_[p]);
}

// REQUIRES: nothing is unread.
void Hub::TakeLog(Subscription& subscription, Taken* taken) {
  int left = kScannedMax;
  std::size_t bytes = 0;
  for (const int16_t p : subscription.interest().partitions()) {
    int64_t& cursor = subscription.cursor_[p];
    while (cursor < positions_[p]) {
      const bool full = taken->deliveries.size() == kTakenMax || bytes >= kTakenBytesMax;
      if (--left < 0 || full) return;
      const Logged& logged = log_[p][++cursor - Oldest(p)];
      const auto matches =
          logged.change == nullptr ? std::nullopt : subscription.interest().Judge(*logged.change);
      if (!matches.has_value()) continue;
      bytes += logged.bytes;
      taken->deliveries.push_back({logged.change, *matches});
    }
  }
  subscription.live_ = true;
  subscription.group_->live.insert(&subscription);
}

std::vector<Range> Hub::Unread(const Subscription& subscription) const {
  std::vector<Range> ranges;
  for (const int16_t p : subscription.interest().partitions()) {
    const int64_t cursor = subscription.cursor_[p];
    if (cursor < positions_[p] && cursor + 1 < Oldest(p))
      ranges.push_back({p, cursor, positions_[p]});
  }
  Limit(kUnreadMax, &ranges);
  return ranges;
}

void Hub::Advance(Subscription& subscription, absl::Span<const Range> ranges) {
  absl::MutexLock lock(&mutex_);
  for (const Range& range : ranges) {
    int64_t& cursor = subscription.cursor_[range.partition];
    cursor = std::max(cursor, range.upto);
  }
  // Changes that came from the hub while the same ones were read.
  std::erase_if(subscription.queue_, [&](const Subscription::Mark& mark) {
    return mark.position <= subscription.cursor_[mark.partition];
  });
}

// The cursor is still that of the first mark.
void Hub::FallBehind(Subscription& subscription) {
  subscription.live_ = false;
  std::vector<Subscription::Mark>().swap(subscription.queue_);
  subscription.group_->live.erase(&subscription);
}

// -------------------------------------------------------------------------------------------------
// changes

void Hub::Publish(std::vector<ChangePtr> changes) {
  Wakes wakes;
  bool missing = false;
  {
    absl::MutexLock lock(&mutex_);
    if (subscriptions_.empty()) return;
    for (ChangePtr& change : changes) missing |= !Arrive(std::move(change), &wakes);
  }
  WakeAll(wakes);
  if (missing) options_.on_missing();
}

bool Hub::Arrive(ChangePtr change, Wakes* wakes) {
  const int16_t p = change->partition;
  const int64_t position = change->position;
  if (position <= positions_[p]) return true;  // It was read from the database before.
  if (position == positions_[p] + 1) {
    Append(std::move(change), wakes);
    AppendEarly(p, wakes);
    return true;
  }
  seen_[p] = std::max(seen_[p], position);
  if (early_[p].size() < options_.early_max) early_[p].emplace(position, std::move(change));
  return false;
}

void Hub::AppendEarly(int16_t partition, Wakes* wakes) {
  std::map<int64_t, ChangePtr>& early = early_[partition];
  while (!early.empty() && early.begin()->first <= positions_[partition] + 1) {
    ChangePtr change = std::move(early.begin()->second);
    early.erase(early.begin());
    if (change->position > positions_[partition]) Append(std::move(change), wakes);
  }
}

void Hub::Append(ChangePtr change, Wakes* wakes) {
  Dispatch(*change, wakes);
  positions_[change->partition] = change->position;
  const std::size_t bytes = BytesOf(*change);
  const int16_t partition = change->partition;
  Log(partition, {std::move(change), bytes});
}

void Hub::Log(int16_t partition, Logged logged) {
  log_bytes_ += logged.bytes;
  log_[partition].push_back(std::move(logged));
  order_.push_back(partition);
  // The newest entry stays, however large: there is always something to return.
  while (log_bytes_ > options_.log_bytes_max && order_.size() > 1) {
    std::deque<Logged>& oldest = log_[order_.front()];
    order_.pop_front();
    log_bytes_ -= oldest.front().bytes;
    oldest.pop_front();
  }
}

// The events up to here were removed before the hub saw them: their session is gone, and its last
// event comes later.
void Hub::PassHole(int16_t partition, int64_t upto) {
  int64_t& position = positions_[partition];
  if (upto - position > kHoleMax) {
    for (const Logged& logged : log_[partition]) log_bytes_ -= logged.bytes;
    log_[partition].clear();
    order_.erase(std::remove(order_.begin(), order_.end(), partition), order_.end());
    position = upto;
  }
  while (position < upto) {
    ++position;
    Log(partition, {nullptr, sizeof(Logged)});
  }
}

void Hub::Dispatch(const Change& change, Wakes* wakes) {
  const auto tell = [&](Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (group.live.empty()) return;
    const std::optional<bool> matches = group.interest->Judge(change);
    if (!matches.has_value()) return;
    // Push may remove one from the set.
    const std::vector<Subscription*> live(group.live.begin(), group.live.end());
    for (Subscription* subscription : live) Push(*subscription, change, *matches, wakes);
  };
  if (change.before_is_partial) {
    for (const auto& [canonical, group] : groups_) tell(*group);
    return;
  }
  KeyKinds kinds;
  std::transform(kinds_.begin(), kinds_.end(), kinds.begin(), [](int count) { return count > 0; });
  for (const std::string& key : KeysOf(change, kinds)) {
    const auto found = groups_by_key_.find(key);
    if (found == groups_by_key_.end()) continue;
    for (Group* group : found->second) tell(*group);
  }
}

void Hub::Push(Subscription& subscription, const Change& change, bool matches, Wakes* wakes) {
  // A watch may start ahead of the hub, which has not seen everything yet.
  if (change.position <= subscription.cursor_[change.partition]) return;
  if (subscription.queue_.empty()) {
    CatchUp(subscription);
    wakes->push_back(subscriptions_.at(&subscription));
  }
  subscription.queue_.push_back({change.position, change.partition, matches});
  if (subscription.queue_.size() > options_.queue_max) FallBehind(subscription);
}

void Hub::Saw(const Positions& positions) {
  absl::MutexLock lock(&mutex_);
  for (std::size_t p = 0; p < seen_.size(); ++p) seen_[p] = std::max(seen_[p], positions[p]);
}

std::vector<Range> Hub::Missing(int64_t events_max, int first) const {
  std::vector<Range> ranges;
  absl::MutexLock lock(&mutex_);
  if (subscriptions_.empty()) return ranges;
  for (int i = 0; i < options_.partition_count; ++i) {
    const auto p = static_cast<int16_t>((first + i) % options_.partition_count);
    if (seen_[p] <= positions_[p]) continue;
    const int64_t upto = early_[p].empty() ? seen_[p] : early_[p].begin()->first - 1;
    ranges.push_back({p, positions_[p], upto});
  }
  Limit(events_max, &ranges);
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.partition < b.partition; });
  return ranges;
}

void Hub::Fill(absl::Span<const Range> ranges, std::vector<ChangePtr> changes) {
  Wakes wakes;
  {
    absl::MutexLock lock(&mutex_);
    if (subscriptions_.empty()) return;
    auto next = changes.begin();
    for (const Range& range : ranges) {
      const int16_t p = range.partition;
      // What came from memory in the meantime is already there.
      for (; next != changes.end() && (*next)->partition == p; ++next) {
        if ((*next)->position <= positions_[p] || positions_[p] < range.after) continue;
        PassHole(p, (*next)->position - 1);
        Append(std::move(*next), &wakes);
      }
      if (positions_[p] >= range.after) PassHole(p, range.upto);
      AppendEarly(p, &wakes);
    }
  }
  WakeAll(wakes);
}

// -------------------------------------------------------------------------------------------------
// time

SteadyTime Hub::Beat(SteadyTime now) {
  Wakes wakes;
  SteadyTime next = SteadyTime::InfiniteFuture();
  {
    absl::MutexLock lock(&mutex_);
    while (!beats_.empty() && beats_.begin()->first <= now) {
      const SubscriptionPtr& subscription = subscriptions_.at(beats_.begin()->second);
      beats_.erase(beats_.begin());
      subscription->beat_ = subscription->silent_until();
      if (subscription->beat_ <= now) {
        wakes.push_back(subscription);
        subscription->beat_ = now + subscription->heartbeat_interval_;
      }
      beats_.insert({subscription->beat_, subscription.get()});
    }
    if (!beats_.empty()) next = beats_.begin()->first;
  }
  WakeAll(wakes);
  return next;
}

}  // namespace sessiond::watch
