#include "tests/simulation/watcher.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/watch/watching.h"
#include "state_machine/evolve.h"
#include "state_machine/filter.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond::simulation {

// -------------------------------------------------------------------------------------------------
// the stream

ModelStream::Written ModelStream::Write(const std::string& part,
                                        const v1::WatchSessionsResponse& rest, bool) {
  v1::WatchSessionsResponse reply;
  reply.ParseFromString(part);
  reply.MergeFrom(rest);
  pipe_.push_back(std::move(reply));
  return Written(*this);
}

absl::Status ModelStream::Run(Awaitable<absl::Status> task,
                              const std::function<void(const v1::WatchSessionsResponse&)>& read,
                              absl::Duration slowness) {
  std::optional<absl::Status> ended;
  const auto run = [](Awaitable<absl::Status> awaited,
                      std::optional<absl::Status>* to) -> Detached { *to = co_await awaited; };
  Random& random = scheduler_.random();
  const auto read_some = [&](std::size_t leave) {
    while (pipe_.size() > leave) {
      const v1::WatchSessionsResponse reply = std::move(pipe_.front());
      pipe_.pop_front();
      read(reply);
    }
  };
  run(std::move(task), &ended);
  while (!ended.has_value()) {
    const std::coroutine_handle<> suspended = std::exchange(suspended_, nullptr);
    if (waits_for_news_) {
      read_some(0);
      scheduler_.Await([this] { return news_->signal.is_set || over() || draining(); }, until_);
      news_->signal.is_set = false;
    } else if (random.OneIn(3)) {
      scheduler_.Sleep(random.Between(absl::Microseconds(10), slowness));
      if (!over()) read_some(random.Below(4));
    }
    suspended.resume();
  }
  // What is on the way when it breaks off is lost.
  if (!process_->crashed && !left && random.OneIn(2)) read_some(0);
  return *ended;
}

// -------------------------------------------------------------------------------------------------
// the watcher

Watcher::Watcher(Surroundings all, const History& history, Options options)
    : all_(all),
      history_(history),
      options_(std::move(options)),
      interest_(*watch::Interest::Of(options_.request, {}, kPartitions)),
      asks_for_payload_(interest_->rewinding() == db::Rewinding::kAll ||
                        !options_.request.filter().empty()),
      wants_initial_state_(options_.request.initial_state()),
      cursor_(kPartitions) {}

void Watcher::Fail(const std::string& why) const {
  all_.scheduler.Fail(absl::StrCat("watch of {", options_.request.ShortDebugString(), "}: ", why));
}

void Watcher::Watch(const std::shared_ptr<Daemon>& daemon, Instant until) {
  v1::WatchSessionsRequest request = options_.request;
  request.set_initial_state(token_.empty() && wants_initial_state_);
  if (!token_.empty()) ++resumes;
  if (!bookmarked_) {
    pages_ = {};
    had_initial_state_ = wants_initial_state_;
    begun_ = false;
    sessions_read_ = 0;
  }
  ReadPages read;
  ModelReads reads(all_, daemon->process(), bookmarked_ ? nullptr : &pages_);
  ModelStream stream(all_.scheduler, daemon->process(), until);
  const watch::WatchPages sizes{.matching = 1 + all_.scheduler.random().Below(3), .named = 1};
  absl::Status ended;
  {
    watch::Watching watching(*daemon, daemon->hub(), reads, stream, interest_, request, sizes);
    ended = stream.Run(
        watching.Run(token_), [this](const auto& response) { Read(response); }, options_.slowness);
  }
  if (ended.ok() || ended.code() == absl::StatusCode::kCancelled) return;
  const v1::ErrorReason reason = ReasonOf(ended);
  if (reason == v1::RESUME_TOKEN_EXPIRED) {
    ++expired;
    token_.clear();
    wants_initial_state_ = true;
    bookmarked_ = false;
  } else if (CategoryOf(reason) != Category::kTemporary) {
    Fail(absl::StrCat("ended with ", std::string(ended.message())));
  }
}

// The first message of a stream.
void Watcher::Begin() {
  begun_ = true;
  if (!had_initial_state_) {
    cursor_ = pages_.begun_at;
  } else {
    cursor_.assign(kPartitions, 0);
  }
}

void Watcher::Read(const v1::WatchSessionsResponse& response) {
  if (!begun_) Begin();
  if (response.has_session()) ReadSession(response.session());
  if (response.has_change()) ReadChange(response);
  if (response.has_bookmark()) ReadBookmark();
  token_ = response.resume_token();
}

void Watcher::ReadSession(const v1::Session& session) {
  ++sessions_read_;
  const auto place = history_.Find(session.session_id(), session.sequence());
  const auto next = history_.Find(session.session_id(), session.sequence() + 1);
  const auto& as_of = PageOf(session).as_of;
  const bool was_so = place.has_value() && place->second <= as_of[place->first] &&
                      (!next.has_value() || next->second > as_of[place->first]);
  if (!was_so || !history_.WasOnce(session) || !interest_->Shows(session)) {
    Fail(absl::StrCat("the initial state shows what was not so: ", session.ShortDebugString()));
  }
}

void Watcher::ReadBookmark() {
  if (bookmarked_ || !had_initial_state_) {
    bookmarked_ = true;
    return;
  }
  bookmarked_ = true;
  const auto shown = static_cast<std::size_t>(
      std::count_if(pages_.sessions.begin(), pages_.sessions.end(),
                    [this](const v1::Session& session) { return interest_->Shows(session); }));
  if (shown != sessions_read_) {
    Fail(absl::StrCat("the initial state has ", sessions_read_, " sessions instead of ", shown));
  }
}

const ReadPages::Page& Watcher::PageOf(const v1::Session& session) const {
  const bool named = !interest_->session_ids().empty();
  const std::pair key(named ? 0 : absl::ToUnixMicros(FromProto(session.create_time())),
                      session.session_id());
  for (const ReadPages::Page& page : pages_.pages) {
    if (!page.last.has_value() || key <= *page.last) return page;
  }
  return pages_.pages.back();
}

bool Watcher::CoveredByInitialState(const Record& record) const {
  if (!had_initial_state_) return false;
  if (pages_.pages.empty()) return true;
  const watch::Change& change = record.change;
  const auto& session = change.after != nullptr ? change.after : change.before;
  return change.position <= PageOf(*session).as_of[change.partition];
}

std::optional<bool> Watcher::Judge(const Record& record) const {
  const auto& partitions = interest_->partitions();
  if (std::find(partitions.begin(), partitions.end(), record.change.partition) == partitions.end())
    return std::nullopt;
  return interest_->Judge(record.change);
}

bool Watcher::MayLack(const Record& record) const {
  return !Judge(record).has_value() || CoveredByInitialState(record) || record.removed;
}

void Watcher::ReadChange(const v1::WatchSessionsResponse& response) {
  ++deliveries;
  const v1::SessionEvent& event = response.change().event();
  const auto place = history_.Find(event.session_id(), event.sequence());
  if (!place.has_value())
    return Fail(absl::StrCat("told what never happened: ", event.ShortDebugString()));
  const auto [p, position] = *place;
  const auto& log = history_.Log(p);
  const Record& record = *log[position - 1];
  const auto told = [&] {
    return absl::StrCat(event.session_id(), "/", event.sequence(), " at ", p, ":", position);
  };
  if (position <= cursor_[p])
    return Fail(absl::StrCat("told again, or out of order, after ", cursor_[p], ": ", told()));
  for (int64_t missed = cursor_[p] + 1; missed < position; ++missed) {
    if (!MayLack(*log[missed - 1])) {
      return Fail(absl::StrCat("not told of ", p, ":", missed, ": ",
                               log[missed - 1]->change.event.ShortDebugString(), "; then comes ",
                               told()));
    }
  }
  if (CoveredByInitialState(record))
    return Fail(absl::StrCat("told what the initial state had: ", told()));
  const std::optional<bool> matches = Judge(record);
  const bool unclear = IsEnd(event) && asks_for_payload_;
  if (!unclear && !matches.has_value())
    return Fail(absl::StrCat("told what does not concern it: ", told()));
  if (!unclear && *matches != response.matches()) {
    return Fail(absl::StrCat("told that the session matches: ", response.matches(), ": ", told()));
  }
  if (Bytes(event) != Bytes(record.change.event))
    return Fail(absl::StrCat("told of another event: ", event.ShortDebugString(), "\ninstead of ",
                             record.change.event.ShortDebugString()));
  const v1::Session& session = response.change().session();
  if (response.change().has_session() &&
      (session.sequence() < event.sequence() || !history_.WasOnce(session))) {
    return Fail(absl::StrCat("told of a session that never was: ", session.ShortDebugString()));
  }
  cursor_[p] = position;
}

bool Watcher::UpToDate() const { return Missing().empty(); }

std::string Watcher::Missing() const {
  if (!begun_ || !bookmarked_) return "everything";
  for (const int16_t p : interest_->partitions()) {
    const auto& log = history_.Log(p);
    for (auto position = static_cast<std::size_t>(cursor_[p]); position < log.size(); ++position) {
      if (!MayLack(*log[position])) {
        return absl::StrCat(p, ":", position + 1, " ",
                            log[position]->change.event.ShortDebugString());
      }
    }
  }
  return "";
}

}  // namespace sessiond::simulation
