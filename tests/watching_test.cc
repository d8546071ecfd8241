// One watch, with readers and a stream that do what they are told: what is held for a client that
// does not read. What a watch delivers, the simulation looks at.
#include "server/watch/watching.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "state_machine/page_token.h"

namespace sessiond::watch {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

std::string IdOf(int number) { return absl::StrCat("00000000-0000-7000-8000-00000000000", number); }

struct FakeStore {
  PageTokens tokens{"a key"};
  const PageTokens& page_tokens() const { return tokens; }
  int partition_count() const { return 1; }
  absl::Time Now() const { return absl::Now(); }
};

// A database with so many sessions, each of which was created at the position of its number.
struct FakeReads {
  int sessions = 5;
  // Changes of one read.
  int64_t fitting = 1'000;
  // Of each page.
  std::vector<int> read;

  db::PartitionStates Partitions() const { return {.positions = {sessions}, .purged = {0}}; }
  static v1::Session SessionOf(int number) {
    v1::Session session;
    session.set_namespace_("default");
    session.set_session_id(IdOf(number));
    session.set_owner_id(std::string(1'000, 'x'));
    return session;
  }

  Answer<db::PartitionStates> GetPartitions(db::CallerLeft) { co_return Partitions(); }
  Answer<std::optional<absl::Time>> GetOldestResumable(db::CallerLeft) { co_return std::nullopt; }
  Answer<db::StoredEvents> GetEvents(std::vector<Range> ranges, db::Rewinding, std::size_t,
                                     db::CallerLeft) {
    ranges = FirstOf(ranges, fitting);
    db::StoredEvents stored{.ranges = ranges, .partitions = Partitions()};
    for (const Range& range : ranges) {
      for (int64_t position = range.after + 1; position <= range.upto; ++position) {
        const auto session = std::make_shared<v1::Session>(SessionOf(static_cast<int>(position)));
        stored.sessions[session->session_id()] = session;
        v1::SessionEvent& event =
            stored.events.emplace_back(db::StoredEvent{.position = position}).step.event;
        event.set_type(v1::SessionEvent::CREATED);
        event.set_session_id(session->session_id());
        event.set_sequence(1);
      }
    }
    read.push_back(static_cast<int>(stored.events.size()));
    co_return stored;
  }
  Answer<db::AsOf<db::Page<v1::Session>>> GetSessions(db::SessionSelection, db::KeyValues after,
                                                      int page_size, std::size_t, db::CallerLeft) {
    db::AsOf<db::Page<v1::Session>> page{.partitions = Partitions()};
    int number = after.empty() ? 0 : std::stoi(after[0]);
    while (number < sessions && page.found.rows.size() < page_size)
      *page.found.rows.Add() = SessionOf(++number);
    if (number < sessions) page.found.end = {absl::StrCat(number), IdOf(number)};
    read.push_back(page.found.rows.size());
    co_return page;
  }
  Answer<db::AsOf<std::vector<v1::Session>>> GetNamedSessions(std::vector<std::string> ids, Scope,
                                                              db::CallerLeft) {
    read.push_back(static_cast<int>(ids.size()));
    co_return db::AsOf<std::vector<v1::Session>>{Partitions(), {}};
  }
};

// Its client takes everything, and leaves when there is no more.
class FakeStream {
 public:
  static constexpr bool kNow = true, kWithNext = false;
  struct Signal {
    void Set() {}
    std::suspend_never Wait() {
      waited = true;
      return {};
    }
    bool waited = false;
  };
  struct News {
    Signal signal;
    std::atomic<bool> over = false;
  };

  bool Hold(std::size_t bytes) {
    held.push_back(bytes);
    return bytes <= room;
  }
  Awaitable<bool> Write(const std::string& part, const v1::WatchSessionsResponse& rest,
                        bool = kNow) {
    v1::WatchSessionsResponse& response = sent.emplace_back();
    response.ParseFromString(part);
    response.MergeFrom(rest);
    co_return sent.size() < patience;
  }
  bool over() const { return news_->signal.waited; }
  bool draining() const { return false; }
  const std::shared_ptr<News>& news() const { return news_; }

  std::size_t room = 1 << 20;
  // It leaves behind so many messages.
  std::size_t patience = 1'000;
  std::vector<v1::WatchSessionsResponse> sent;
  std::vector<std::size_t> held;

 private:
  const std::shared_ptr<News> news_ = std::make_shared<News>();
};

class WatchingTest : public testing::Test {
 protected:
  // Which resumes behind a position, if one is given.
  absl::Status Watch(const v1::WatchSessionsRequest& request,
                     std::optional<int64_t> after = std::nullopt) {
    db::CommittedListener listener;
    Hub hub({.partition_count = 1}, listener);
    auto interest = Interest::Of(request, {}, 1).value();
    std::string resume_token;
    if (after.has_value())
      resume_token = ResumeTokens(store_.tokens, *interest, 1).Make({.positions = {*after}});
    Watching watching(store_, hub, reads_, stream_, std::move(interest), request,
                      {.matching = 2, .stored = 2});
    std::optional<absl::Status> ended;
    [](Awaitable<absl::Status> run, std::optional<absl::Status>* to) -> Detached {
      *to = co_await run;
    }(watching.Run(resume_token), &ended);
    return ended.value_or(absl::UnknownError("it goes on"));
  }

  FakeStore store_;
  FakeReads reads_;
  FakeStream stream_;
};

TEST_F(WatchingTest, HoldsTheBytesOfOnePageOfItsInitialState) {
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  EXPECT_TRUE(Watch(request).ok());
  EXPECT_THAT(reads_.read, ElementsAre(2, 2, 1));
  ASSERT_THAT(stream_.held, SizeIs(3));
  EXPECT_GT(stream_.held[0], 2'000u);
  EXPECT_LT(stream_.held[0], 3'000u);
  ASSERT_THAT(stream_.sent, SizeIs(6));  // With the bookmark.
  EXPECT_EQ(stream_.sent[4].session().session_id(), IdOf(5));
}

TEST_F(WatchingTest, EndsAsOverloadedWhereThereIsNoRoomForItsInitialState) {
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  stream_.room = 1'000;
  EXPECT_EQ(ReasonOf(Watch(request)), v1::OVERLOADED);
  EXPECT_THAT(stream_.sent, SizeIs(0));
}

TEST_F(WatchingTest, HoldsTheBytesOfAFewStoredChanges) {
  EXPECT_TRUE(Watch({}, 1).ok());
  EXPECT_THAT(reads_.read, ElementsAre(2, 2));
  ASSERT_THAT(stream_.held, SizeIs(2));
  EXPECT_GT(stream_.held[0], 2'000u);
  EXPECT_LT(stream_.held[0], 3'000u);
  ASSERT_THAT(stream_.sent, SizeIs(5));  // With the bookmark.
  EXPECT_EQ(stream_.sent[4].change().event().session_id(), IdOf(5));
}

TEST_F(WatchingTest, ReadsOnWhereNotAllFitsIntoOneRead) {
  reads_.fitting = 1;
  EXPECT_TRUE(Watch({}, 1).ok());
  EXPECT_THAT(reads_.read, ElementsAre(1, 1, 1, 1));
  ASSERT_THAT(stream_.sent, SizeIs(5));  // With the bookmark.
  for (int number = 2; number <= 5; ++number)
    EXPECT_EQ(stream_.sent[number - 1].change().event().session_id(), IdOf(number));
}

// Changes that do not concern the client may take long to read.
TEST_F(WatchingTest, IsHeardOfBetweenTheReadsOfWhatItDoesNotTell) {
  v1::WatchSessionsRequest request;
  request.set_filter("owner_id = \"nobody\"");
  request.mutable_heartbeat_interval()->set_nanos(1);
  reads_.fitting = 1;
  stream_.patience = 3;
  EXPECT_FALSE(Watch(request, 1).ok());
  ASSERT_THAT(stream_.sent, SizeIs(3));
  EXPECT_TRUE(stream_.sent[0].has_bookmark());
  EXPECT_TRUE(stream_.sent[1].has_heartbeat());
  EXPECT_TRUE(stream_.sent[2].has_heartbeat());
  EXPECT_THAT(reads_.read, ElementsAre(1, 1));  // Of four.
}

TEST_F(WatchingTest, EndsAsOverloadedWhereThereIsNoRoomForStoredChanges) {
  stream_.room = 1'000;
  EXPECT_EQ(ReasonOf(Watch({}, 1)), v1::OVERLOADED);
  EXPECT_THAT(stream_.sent, SizeIs(1));  // The bookmark: it has begun.
}

}  // namespace
}  // namespace sessiond::watch
