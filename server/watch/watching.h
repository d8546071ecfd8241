// A watch, from its request to its end: where to start, the initial state, and then the changes as
// the hub has them, or the database.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/committed.h"
#include "db/base/coroutine.h"
#include "db/base/deadline.h"
#include "db/base/page.h"
#include "db/base/selection.h"
#include "db/base/steady_time.h"
#include "db/base/stored_events.h"
#include "server/watch/change.h"
#include "server/watch/hub.h"
#include "server/watch/initial_state.h"
#include "server/watch/interest.h"
#include "server/watch/resume_token.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/filter.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond::watch {

inline constexpr absl::Duration kHeartbeatDefault = absl::Seconds(15);

// The client has left, or the response is too large: the stream knows which, and ends with it.
inline absl::Status CannotBeSent() { return absl::CancelledError("The response cannot be sent."); }

// Sessions of the initial state per read: enough that round trips do not matter, little enough that
// hundreds of watches can have theirs unread.
struct WatchPages {
  int matching = 200;
  std::size_t bytes = 256 << 10;
  // Of named sessions, whose bytes the database does not count.
  std::size_t named = 8;
  // Changes, of each of which one may have a large session.
  int64_t stored = 128;
};

// A change that is to be sent, without the sessions that it was judged by.
struct ToSend {
  int16_t partition;
  int64_t position;
  bool matches;
  std::string wire;
};

// The first of these ranges, with so many positions at most.
inline std::vector<Range> FirstOf(const std::vector<Range>& ranges, int64_t positions) {
  std::vector<Range> first;
  for (const Range& range : ranges) {
    if (positions <= 0) break;
    first.push_back(range);
    first.back().upto = std::min(range.upto, range.after + positions);
    positions -= first.back().upto - range.after;
  }
  return first;
}

// Without those that were read, which are the first of them.
inline void TakeOff(const std::vector<Range>& read, std::vector<Range>* ranges) {
  for (std::size_t i = 0; i < read.size(); ++i) (*ranges)[i].after = read[i].upto;
  std::erase_if(*ranges, [](const Range& range) { return range.after == range.upto; });
}

// One stream, from its request to its end. Of `Store` it needs page_tokens, partition_count and
// Now; `Reads` is a WatchReader, `Stream` an rpc::Stream, or what is like them. All outlive it.
template <class Store, class Reads, class Stream>
class Watching {
 public:
  Watching(Store& store, Hub& hub, Reads& reads, Stream& stream,
           std::shared_ptr<const Interest> interest, const v1::WatchSessionsRequest& request,
           WatchPages pages = {})
      : store_(store),
        hub_(hub),
        reads_(reads),
        stream_(stream),
        pages_(pages),
        interest_(std::move(interest)),
        tokens_(store.page_tokens(), *interest_, store.partition_count()),
        heartbeat_interval_(request.has_heartbeat_interval()
                                ? FromProto(request.heartbeat_interval())
                                : kHeartbeatDefault),
        in_initial_state_(request.initial_state()) {}
  ~Watching() {
    if (subscription_ != nullptr) hub_.Unsubscribe(subscription_);
  }
  Watching(const Watching&) = delete;

  Awaitable<absl::Status> Run(std::string resume_token) {
    if (absl::Status begun = co_await Begin(std::move(resume_token)); !begun.ok()) co_return begun;
    if (in_initial_state_) {
      absl::Status sent = co_await SendInitialState();
      if (!sent.ok() || Ends()) co_return sent;
      in_initial_state_ = false;
    }
    v1::WatchSessionsResponse response;
    response.mutable_bookmark();
    if (!co_await Send(std::move(response))) co_return absl::OkStatus();
    co_return co_await Follow();
  }

 private:
  bool Ends() const { return stream_.over() || stream_.draining(); }
  // For reads, which need not be made any more then.
  db::CallerLeft left() const { return &stream_.news()->over; }

  // -- beginning

  // Finds out where to start, and has the hub collect the changes from there.
  Awaitable<absl::Status> Begin(std::string resume_token) {
    const absl::StatusOr<db::PartitionStates> states = co_await reads_.GetPartitions(left());
    if (!states.ok()) co_return states.status();
    at_ = states->positions;
    if (!resume_token.empty()) {
      absl::StatusOr<ResumePoint> point = tokens_.Open(resume_token);
      if (!point.ok()) co_return point.status();
      in_initial_state_ = point->in_initial_state;
      if (!in_initial_state_) at_ = std::move(point->positions);
    }
    for (const int16_t p : interest_->partitions()) {
      // A token that is ahead of the database covers changes that a restored database has lost.
      if (at_[p] < states->purged[p] || at_[p] > states->positions[p])
        co_return co_await TokenExpired();
    }
    subscription_ =
        hub_.Subscribe(interest_, at_, states->positions, SteadyTime::Now(), heartbeat_interval_,
                       [news = stream_.news()] { news->signal.Set(); });
    co_return absl::OkStatus();
  }

  Awaitable<absl::Status> TokenExpired() {
    // When something out of scope happened is nobody's business.
    absl::StatusOr<std::optional<absl::Time>> oldest = store_.Now();
    if (interest_->scope().everything()) oldest = co_await reads_.GetOldestResumable(left());
    if (!oldest.ok()) co_return oldest.status();
    co_return Refusal(v1::RESUME_TOKEN_EXPIRED,
                      "Changes behind the resume token were removed since. Read the present state "
                      "and watch from there: set initial_state, and no resume_token.")
        .With("oldest", ToRfc3339(oldest->value_or(store_.Now())));
  }

  // -- initial state

  // The sessions as their pages found them, and then the later changes of earlier pages' sessions,
  // until the last page was read. After that a token, which covers everything up to one position,
  // is valid.
  Awaitable<absl::Status> SendInitialState() {
    InitialState initial_state(/*named=*/!interest_->session_ids().empty());
    absl::Status sent;
    if (interest_->session_ids().empty()) {
      sent = co_await SendMatching(&initial_state);
    } else {
      sent = co_await SendNamed(&initial_state);
    }
    if (!sent.ok() || Ends()) co_return sent;
    co_return co_await CatchUp(initial_state);
  }

  // All that match, page by page in the order of their creation.
  Awaitable<absl::Status> SendMatching(InitialState* initial_state) {
    const db::SessionSelection selection{.namespace_name = interest_->namespace_name(),
                                         .scope = interest_->scope(),
                                         .filter = interest_->filter(),
                                         .include_deleted = interest_->shows_deleted(),
                                         .order = {OrderField::kCreateTime, /*descending=*/false}};
    db::KeyValues after;
    for (bool more = true; more && !Ends();) {
      std::vector<std::string> parts;
      {
        auto page =
            co_await reads_.GetSessions(selection, after, pages_.matching, pages_.bytes, left());
        if (!page.ok()) co_return page.status();
        auto& rows = page->found.rows;
        after = page->found.end;
        more = !after.empty();
        if (more) {
          initial_state->AddPage(initial_state->KeyOf(*rows.rbegin()),
                                 std::move(page->partitions.positions));
        } else {
          initial_state->AddLastPage(std::move(page->partitions.positions));
        }
        for (v1::Session& each : rows) parts.push_back(PartOf(&each));
      }
      const absl::Status sent = co_await SendSessions(std::move(parts));
      if (!sent.ok()) co_return sent;
    }
    co_return absl::OkStatus();
  }

  // The named sessions that match.
  Awaitable<absl::Status> SendNamed(InitialState* initial_state) {
    const std::vector<std::string>& ids = interest_->session_ids();
    for (std::size_t begin = 0; begin < ids.size() && !Ends(); begin += pages_.named) {
      const auto some = absl::MakeSpan(ids).subspan(begin, pages_.named);
      std::vector<std::string> parts;
      {
        auto page = co_await reads_.GetNamedSessions({some.begin(), some.end()}, interest_->scope(),
                                                     left());
        if (!page.ok()) co_return page.status();
        Positions& as_of = page->partitions.positions;
        if (begin + some.size() < ids.size()) {
          initial_state->AddPage({0, some.back()}, std::move(as_of));
        } else {
          initial_state->AddLastPage(std::move(as_of));
        }
        for (v1::Session& each : page->found) {
          if (interest_->Shows(each)) parts.push_back(PartOf(&each));
        }
      }
      absl::Status sent = co_await SendSessions(std::move(parts));
      if (!sent.ok()) co_return sent;
    }
    co_return absl::OkStatus();
  }

  // A session, serialized at once, and gone: as messages a page may take ten times as much, for as
  // long as the client likes.
  static std::string PartOf(v1::Session* session) {
    v1::WatchSessionsResponse response;
    response.mutable_session()->Swap(session);
    return response.SerializeAsString();
  }

  // OVERLOADED: too much waits already for clients that do not read.
  Awaitable<absl::Status> SendSessions(std::vector<std::string> parts) {
    std::size_t bytes = 0;
    for (const std::string& part : parts) bytes += part.size();
    const auto held = stream_.Hold(bytes);
    if (!held) co_return Overloaded("bytes of initial states");
    for (const std::string& part : parts) {
      if (!co_await Send({}, part)) co_return CannotBeSent();
    }
    co_return absl::OkStatus();
  }

  // -- changes

  // The changes that the pages of the initial state do not cover, until the stream has reached the
  // position of the last page.
  Awaitable<absl::Status> CatchUp(const InitialState& initial_state) {
    while (!Ends()) {
      std::vector<Range> ranges =
          RangesBetween(at_, initial_state.last_as_of(), interest_->partitions());
      if (ranges.empty()) break;
      if (absl::Status sent = co_await SendStored(std::move(ranges), &initial_state); !sent.ok())
        co_return sent;
    }
    co_return absl::OkStatus();
  }

  // Changes as they come, until the call is over, or the daemon drains and all that is pending is
  // sent.
  Awaitable<absl::Status> Follow() {
    while (!stream_.over()) {
      const Taken taken = hub_.Take(*subscription_);
      if (!co_await SendTaken(taken.deliveries)) break;
      at_ = taken.positions;
      if (!taken.unread.empty()) {
        absl::Status sent = co_await SendStored(taken.unread);
        if (!sent.ok() || stream_.draining()) co_return sent;
      }
      const bool idle = taken.deliveries.empty() && !taken.more;
      if ((idle && stream_.draining()) || IsSilent()) {
        if (!co_await SendHeartbeat() || stream_.draining()) break;
      } else if (idle) {
        co_await stream_.news()->signal.Wait();
      }
    }
    co_return absl::OkStatus();
  }

  // False: they cannot be sent.
  Awaitable<bool> SendTaken(const std::vector<Delivery>& deliveries) {
    for (const Delivery& delivery : deliveries) {
      const auto flush = &delivery == &deliveries.back() ? Stream::kNow : Stream::kWithNext;
      const Change& change = *delivery.change;
      if (!co_await SendChange(change.partition, change.position, change.wire(), delivery.matches,
                               flush)) {
        co_return false;
      }
    }
    co_return true;
  }

  // The changes in the database, unless the initial state covers them.
  Awaitable<absl::Status> SendStored(std::vector<Range> ranges,
                                     const InitialState* initial_state = nullptr) {
    while (!ranges.empty()) {
      const auto read = co_await SendSomeStored(FirstOf(ranges, pages_.stored), initial_state);
      if (!read.ok()) co_return read.status();
      TakeOff(*read, &ranges);
      if (IsSilent() && !co_await SendHeartbeat()) co_return CannotBeSent();
    }
    co_return absl::OkStatus();
  }

  // The same of the first of these ranges: as much as a client may leave unread. Returns what that
  // was.
  Awaitable<absl::StatusOr<std::vector<Range>>> SendSomeStored(std::vector<Range> ranges,
                                                               const InitialState* initial_state) {
    auto stored =
        co_await reads_.GetEvents(ranges, interest_->rewinding(), kAppendedBytesMax, left());
    if (!stored.ok()) co_return stored.status();
    std::vector<Range> read = std::move(stored->ranges);
    for (const Range& range : read) {
      // After the initial state nothing is lost: the session is gone, as a later event says.
      if (initial_state == nullptr && range.after < stored->partitions.purged[range.partition])
        co_return co_await TokenExpired();
    }
    std::vector<ChangePtr> changes = ChangesOf(*std::move(stored));
    std::vector<ToSend> all;
    std::size_t bytes = 0;
    for (ChangePtr& each : changes) {
      const ChangePtr change = std::exchange(each, nullptr);
      if (initial_state != nullptr && initial_state->Covers(*change)) continue;
      const std::optional<bool> matches = interest_->Judge(*change);
      if (!matches.has_value()) continue;
      all.push_back({change->partition, change->position, *matches, change->wire()});
      bytes += change->wire().size();
    }
    const auto held = stream_.Hold(bytes);
    if (!held) co_return Overloaded("bytes of changes");
    for (const ToSend& each : all) {
      const auto flush = &each == &all.back() ? Stream::kNow : Stream::kWithNext;
      if (!co_await SendChange(each.partition, each.position, each.wire, each.matches, flush))
        co_return CannotBeSent();
    }
    for (const Range& range : read) at_[range.partition] = range.upto;
    hub_.Advance(*subscription_, read);
    co_return read;
  }

  bool IsSilent() const { return SteadyTime::Now() >= subscription_->silent_until(); }

  Awaitable<bool> SendHeartbeat() {
    v1::WatchSessionsResponse response;
    response.mutable_heartbeat();
    co_return co_await Send(std::move(response));
  }

  // `wire`: Change::wire, which outlives the task. False: it cannot be sent.
  Awaitable<bool> SendChange(int16_t partition, int64_t position, const std::string& wire,
                             bool matches, decltype(Stream::kNow) flush) {
    at_[partition] = position;
    v1::WatchSessionsResponse rest;
    rest.set_matches(matches);
    rest.set_resume_token(Token());
    const bool sent = co_await stream_.Write(wire, rest, flush);
    subscription_->Spoke(SteadyTime::Now());
    co_return sent;
  }

  // `part`: of the response, serialized already.
  Awaitable<bool> Send(v1::WatchSessionsResponse response, const std::string& part = "") {
    response.set_resume_token(Token());
    const bool sent = co_await stream_.Write(part, response);
    subscription_->Spoke(SteadyTime::Now());
    co_return sent;
  }

  std::string Token() const {
    return tokens_.Make({.positions = at_, .in_initial_state = in_initial_state_});
  }

  Store& store_;
  Hub& hub_;
  Reads& reads_;
  Stream& stream_;
  const WatchPages pages_;
  const std::shared_ptr<const Interest> interest_;
  const ResumeTokens tokens_;
  const absl::Duration heartbeat_interval_;
  // Whether the initial state is being sent: until the bookmark.
  bool in_initial_state_;

  SubscriptionPtr subscription_;
  // The position of the stream: everything up to here was sent.
  Positions at_;
};

}  // namespace sessiond::watch
