#include "server/rpc/watch_service.h"

#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/watch/change.h"
#include "server/watch/initial_state.h"
#include "server/watch/resume_token.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond::rpc {
namespace {

using v1::WatchSessionsRequest;
using v1::WatchSessionsResponse;
using watch::ChangePtr;
using watch::Positions;
using watch::Range;

constexpr absl::Duration kHeartbeatDefault = absl::Seconds(15);
constexpr absl::Duration kHeartbeatMin = absl::Seconds(1), kHeartbeatMax = absl::Minutes(10);

// Sessions of the initial state per read: enough that round trips do not matter, few enough that a
// thousand watches can start together.
constexpr int kPageSize = 200;
// The same for named sessions, whose bytes the database does not count.
constexpr std::size_t kIdPageSize = 32;

// The client has left, or the response is too large: the stream knows which, and ends with it.
absl::Status CannotBeSent() { return absl::CancelledError("The response cannot be sent."); }

absl::Status InvalidField(const std::string& field, const std::string& wrong) {
  return Refusal(v1::INVALID_FIELD, absl::StrCat(field, " ", wrong, "."))
      .With("field", field)
      .Violation(field, wrong);
}

absl::Status CheckRequest(const WatchSessionsRequest& request) {
  if (request.initial_state() && !request.resume_token().empty()) {
    return InvalidField("initial_state",
                        "cannot be asked for with a resume_token, which goes on where it is");
  }
  if (!request.has_heartbeat_interval()) return absl::OkStatus();
  const absl::Duration interval = FromProto(request.heartbeat_interval());
  if (interval < kHeartbeatMin || interval > kHeartbeatMax)
    return InvalidField("heartbeat_interval", "must be from 1 second to 10 minutes");
  return absl::OkStatus();
}

// One stream, from its request to its end.
class Watching {
 public:
  Watching(db::SessionStore& store, watch::Feed& feed, WatchService::Watch& stream,
           std::shared_ptr<const watch::Interest> interest, const WatchSessionsRequest& request)
      : store_(store),
        feed_(feed),
        stream_(stream),
        interest_(std::move(interest)),
        tokens_(store.page_tokens(), *interest_, store.partition_count()),
        heartbeat_interval_(request.has_heartbeat_interval()
                                ? FromProto(request.heartbeat_interval())
                                : kHeartbeatDefault),
        in_initial_state_(request.initial_state()) {}
  ~Watching() {
    if (subscription_ != nullptr) feed_.hub().Unsubscribe(subscription_);
  }
  Watching(const Watching&) = delete;

  Awaitable<absl::Status> Run(std::string resume_token) {
    if (absl::Status begun = co_await Begin(std::move(resume_token)); !begun.ok()) co_return begun;
    if (in_initial_state_) {
      absl::Status sent = co_await SendInitialState();
      if (!sent.ok() || Ends()) co_return sent;
      in_initial_state_ = false;
    }
    WatchSessionsResponse response;
    response.mutable_bookmark();
    if (!co_await Send(std::move(response))) co_return absl::OkStatus();
    co_return co_await Follow();
  }

 private:
  bool Ends() const { return stream_.over() || stream_.draining(); }

  // -- beginning

  // Finds out where to start, and has the hub collect the changes from there.
  Awaitable<absl::Status> Begin(std::string resume_token) {
    const absl::StatusOr<db::PartitionStates> states = co_await feed_.reads().GetPartitions();
    if (!states.ok()) co_return states.status();
    at_ = states->positions;
    if (!resume_token.empty()) {
      absl::StatusOr<watch::ResumePoint> point = tokens_.Open(resume_token);
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
        feed_.hub().Subscribe(interest_, at_, states->positions, SteadyTime::Now(),
                              heartbeat_interval_, [news = stream_.news()] { news->signal.Set(); });
    co_return absl::OkStatus();
  }

  Awaitable<absl::Status> TokenExpired() {
    // When something out of scope happened is nobody's business.
    absl::StatusOr<std::optional<absl::Time>> oldest = store_.Now();
    if (interest_->scope().everything()) oldest = co_await feed_.reads().GetOldestResumable();
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
    watch::InitialState told(/*named=*/!interest_->session_ids().empty());
    absl::Status sent;
    if (interest_->session_ids().empty()) {
      sent = co_await SendMatching(&told);
    } else {
      sent = co_await SendNamed(&told);
    }
    if (!sent.ok() || Ends()) co_return sent;
    co_return co_await CatchUp(told);
  }

  // All that match, page by page in the order of their creation.
  Awaitable<absl::Status> SendMatching(watch::InitialState* told) {
    const db::SessionSelection selection{.namespace_name = interest_->namespace_name(),
                                         .scope = interest_->scope(),
                                         .filter = interest_->filter(),
                                         .include_deleted = interest_->shows_deleted(),
                                         .order = {OrderField::kCreateTime, /*descending=*/false}};
    db::KeyValues after;
    for (bool more = true; more && !Ends();) {
      auto page = co_await feed_.reads().GetSessions(selection, after, kPageSize);
      if (!page.ok()) co_return page.status();
      auto& rows = page->found.rows;
      after = page->found.end;
      more = !after.empty();
      if (more) {
        told->AddPage(told->KeyOf(*rows.rbegin()), std::move(page->partitions.positions));
      } else {
        told->AddLastPage(std::move(page->partitions.positions));
      }
      std::vector<v1::Session> sessions(std::make_move_iterator(rows.begin()),
                                        std::make_move_iterator(rows.end()));
      const absl::Status sent = co_await SendSessions(std::move(sessions));
      if (!sent.ok()) co_return sent;
    }
    co_return absl::OkStatus();
  }

  // The named sessions that match.
  Awaitable<absl::Status> SendNamed(watch::InitialState* told) {
    const std::vector<std::string>& ids = interest_->session_ids();
    for (std::size_t begin = 0; begin < ids.size() && !Ends(); begin += kIdPageSize) {
      const auto some = absl::MakeSpan(ids).subspan(begin, kIdPageSize);
      auto page = co_await feed_.reads().GetNamedSessions({some.begin(), some.end()});
      if (!page.ok()) co_return page.status();
      Positions& as_of = page->partitions.positions;
      if (begin + some.size() < ids.size()) {
        told->AddPage({0, some.back()}, std::move(as_of));
      } else {
        told->AddLastPage(std::move(as_of));
      }
      std::vector<v1::Session>& shown = page->found;
      std::erase_if(shown, [this](const v1::Session& each) { return !interest_->Shows(each); });
      absl::Status sent = co_await SendSessions(std::move(shown));
      if (!sent.ok()) co_return sent;
    }
    co_return absl::OkStatus();
  }

  Awaitable<absl::Status> SendSessions(std::vector<v1::Session> sessions) {
    for (v1::Session& session : sessions) {
      WatchSessionsResponse response;
      *response.mutable_session() = std::move(session);
      if (!co_await Send(std::move(response))) co_return CannotBeSent();
    }
    co_return absl::OkStatus();
  }

  // -- changes

  // The changes that the pages of the initial state do not cover, until the stream has reached the
  // position of the last page.
  Awaitable<absl::Status> CatchUp(const watch::InitialState& told) {
    while (!Ends()) {
      std::vector<Range> left =
          watch::RangesBetween(at_, told.last_as_of(), interest_->partitions());
      if (left.empty()) break;
      if (absl::Status sent = co_await SendStored(std::move(left), &told); !sent.ok())
        co_return sent;
      if (IsSilent() && !co_await SendHeartbeat()) break;
    }
    co_return absl::OkStatus();
  }

  // Changes as they come, until the call is over, or the daemon drains and all that is pending is
  // sent.
  Awaitable<absl::Status> Follow() {
    while (!stream_.over()) {
      const watch::Taken taken = feed_.hub().Take(*subscription_);
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
  Awaitable<bool> SendTaken(const std::vector<watch::Delivery>& deliveries) {
    for (const watch::Delivery& delivery : deliveries) {
      const Onward onward = &delivery == &deliveries.back() ? Onward::kNow : Onward::kWithNext;
      if (!co_await SendChange(*delivery.change, delivery.matches, onward)) co_return false;
    }
    co_return true;
  }

  // The changes in the database, unless the initial state covers them.
  Awaitable<absl::Status> SendStored(std::vector<Range> ranges,
                                     const watch::InitialState* told = nullptr) {
    auto stored =
        co_await feed_.reads().GetEvents(ranges, interest_->rewinding(), watch::kAppendedBytesMax);
    if (!stored.ok()) co_return stored.status();
    for (const Range& range : ranges) {
      // After the initial state nothing is lost: the session is gone, as a later event says.
      if (told == nullptr && range.after < stored->partitions.purged[range.partition])
        co_return co_await TokenExpired();
    }
    const std::vector<ChangePtr> changes = watch::ChangesOf(*std::move(stored));
    for (const ChangePtr& change : changes) {
      if (told != nullptr && told->Told(*change)) continue;
      const std::optional<bool> matches = interest_->Judge(*change);
      at_[change->partition] = change->position;
      if (matches.has_value() && !co_await SendChange(*change, *matches)) co_return CannotBeSent();
    }
    for (const Range& range : ranges) at_[range.partition] = range.upto;
    feed_.hub().Advance(*subscription_, ranges);
    co_return absl::OkStatus();
  }

  bool IsSilent() const { return SteadyTime::Now() >= subscription_->silent_until(); }

  Awaitable<bool> SendHeartbeat() {
    WatchSessionsResponse response;
    response.mutable_heartbeat();
    co_return co_await Send(std::move(response));
  }

  // False: it cannot be sent.
  Awaitable<bool> SendChange(const watch::Change& change, bool matches,
                             Onward onward = Onward::kNow) {
    at_[change.partition] = change.position;
    WatchSessionsResponse rest;
    rest.set_matches(matches);
    rest.set_resume_token(Token());
    const bool sent = co_await stream_.Write(change.wire(), rest, onward);
    subscription_->Spoke(SteadyTime::Now());
    co_return sent;
  }

  Awaitable<bool> Send(WatchSessionsResponse response) {
    response.set_resume_token(Token());
    const bool sent = co_await stream_.Write(response);
    subscription_->Spoke(SteadyTime::Now());
    co_return sent;
  }

  std::string Token() const {
    return tokens_.Make({.positions = at_, .in_initial_state = in_initial_state_});
  }

  db::SessionStore& store_;
  watch::Feed& feed_;
  WatchService::Watch& stream_;
  const std::shared_ptr<const watch::Interest> interest_;
  const watch::ResumeTokens tokens_;
  const absl::Duration heartbeat_interval_;
  // Whether the initial state is being sent: until the bookmark.
  bool in_initial_state_;

  watch::SubscriptionPtr subscription_;
  // The position of the stream: everything up to here was sent.
  Positions at_;
};

}  // namespace

Awaitable<absl::Status> WatchService::WatchSessions(CallInfo call, Watch& stream) {
  std::optional<WatchSessionsRequest> request = co_await stream.Read();
  if (!request.has_value()) co_return absl::OkStatus();
  auto interest = watch::Interest::Of(*request, call.asker.scope, store_.partition_count());
  if (!interest.ok()) co_return interest.status();
  if (auto valid = CheckRequest(*request); !valid.ok()) co_return valid;
  Watching watching(store_, feed_, stream, *std::move(interest), *request);
  std::string resume_token = std::move(*request->mutable_resume_token());
  // A watch may last for days, and no longer needs its request.
  request.reset();
  co_return co_await watching.Run(std::move(resume_token));
}

}  // namespace sessiond::rpc
