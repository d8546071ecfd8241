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

// A database with so many sessions.
struct FakeReads {
  int sessions = 5;
  // Of each page.
  std::vector<int> read;

  db::PartitionStates Partitions() const { return {.positions = {sessions}, .purged = {0}}; }
  static v1::Session SessionOf(int number) {
    v1::Session session;
    session.set_session_id(IdOf(number));
    session.set_owner_id(std::string(1'000, 'x'));
    return session;
  }

  Answer<db::PartitionStates> GetPartitions() { co_return Partitions(); }
  Answer<std::optional<absl::Time>> GetOldestResumable() { co_return std::nullopt; }
  Answer<db::StoredEvents> GetEvents(std::vector<Range>, db::Rewinding, std::size_t) {
    co_return absl::UnimplementedError("nothing has changed");
  }
  Answer<db::AsOf<db::Page<v1::Session>>> GetSessions(db::SessionSelection, db::KeyValues after,
                                                      int page_size, std::size_t) {
    db::AsOf<db::Page<v1::Session>> page{.partitions = Partitions()};
    int number = after.empty() ? 0 : std::stoi(after[0]);
    while (number < sessions && page.found.rows.size() < page_size)
      *page.found.rows.Add() = SessionOf(++number);
    if (number < sessions) page.found.end = {absl::StrCat(number), IdOf(number)};
    read.push_back(page.found.rows.size());
    co_return page;
  }
  Answer<db::AsOf<std::vector<v1::Session>>> GetNamedSessions(std::vector<std::string> ids, Scope) {
    read.push_back(static_cast<int>(ids.size()));
    co_return db::AsOf<std::vector<v1::Session>>{Partitions(), {}};
  }
};

// Its client takes everything; it leaves when it has had `most` responses.
class FakeStream {
 public:
  static constexpr bool kNow = true, kWithNext = false;
  struct Signal {
    void Set() {}
    std::suspend_never Wait() { return {}; }
  };
  struct News {
    Signal signal;
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
    co_return true;
  }
  bool over() const { return sent.size() >= most; }
  bool draining() const { return false; }
  const std::shared_ptr<News>& news() const { return news_; }

  std::size_t most = 1'000, room = 1 << 20;
  std::vector<v1::WatchSessionsResponse> sent;
  std::vector<std::size_t> held;

 private:
  const std::shared_ptr<News> news_ = std::make_shared<News>();
};

class WatchingTest : public testing::Test {
 protected:
  absl::Status Watch(const v1::WatchSessionsRequest& request) {
    db::CommittedListener listener;
    Hub hub({.partition_count = 1}, listener);
    auto interest = Interest::Of(request, {}, 1).value();
    Watching watching(store_, hub, reads_, stream_, std::move(interest), request, {.matching = 2});
    std::optional<absl::Status> ended;
    [](Awaitable<absl::Status> run, std::optional<absl::Status>* to) -> Detached {
      *to = co_await run;
    }(watching.Run(""), &ended);
    return ended.value_or(absl::UnknownError("it goes on"));
  }

  FakeStore store_;
  FakeReads reads_;
  FakeStream stream_;
};

TEST_F(WatchingTest, HoldsTheBytesOfOnePageOfItsInitialState) {
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  stream_.most = 6;  // With the bookmark.
  EXPECT_TRUE(Watch(request).ok());
  EXPECT_THAT(reads_.read, ElementsAre(2, 2, 1));
  ASSERT_THAT(stream_.held, SizeIs(3));
  EXPECT_GT(stream_.held[0], 2'000u);
  EXPECT_LT(stream_.held[0], 3'000u);
  EXPECT_EQ(stream_.sent[4].session().session_id(), IdOf(5));
}

TEST_F(WatchingTest, EndsAsOverloadedWhereThereIsNoRoomForItsInitialState) {
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  stream_.room = 1'000;
  EXPECT_EQ(ReasonOf(Watch(request)), v1::OVERLOADED);
  EXPECT_THAT(stream_.sent, SizeIs(0));
}

}  // namespace
}  // namespace sessiond::watch
