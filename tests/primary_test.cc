// Which server is today's primary, by what was seen before: decided without one.
#include "db/connection/primary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "db/connection/sql_error.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

ServerState Server(int32_t timeline, std::vector<int64_t> positions = {}) {
  return {.system_identifier = 7, .timeline = timeline, .positions = std::move(positions)};
}
ServerState Standby() { return {.in_recovery = true, .system_identifier = 7}; }
ServerState ReadOnly(int32_t timeline) {
  return {.read_only = true, .system_identifier = 7, .timeline = timeline};
}

TEST(Judge, KnowsTheVerdictOnEveryServer) {
  const Seen seen{.system_identifier = 7, .timeline = 2, .positions = {10, 0, 30}};
  const struct {
    std::string what;
    ServerState state;
    Verdict writing, reading;
  } rows[] = {
      {"as it was seen", Server(2, {10, 0, 30}), Verdict::kFit, Verdict::kFit},
      {"further", Server(2, {10, 1, 30}), Verdict::kFit, Verdict::kFit},
      {"promoted", Server(3, {10, 0, 30}), Verdict::kFit, Verdict::kFit},
      {"not asked for positions", Server(2), Verdict::kFit, Verdict::kFit},
      {"cannot say more", ServerState{}, Verdict::kFit, Verdict::kFit},
      {"a standby", Standby(), Verdict::kStandby, Verdict::kStandby},
      {"read-only", ReadOnly(2), Verdict::kReadOnly, Verdict::kFit},
      {"the old primary", Server(1, {99, 99, 99}), Verdict::kOldTimeline, Verdict::kOldTimeline},
      {"the old primary, read-only", ReadOnly(1), Verdict::kOldTimeline, Verdict::kOldTimeline},
      {"promoted, and one change is missing", Server(3, {9, 50, 50}), Verdict::kChangesMissing,
       Verdict::kChangesMissing},
      {"another cluster",
       {.system_identifier = 8, .timeline = 5},
       Verdict::kOtherDatabase,
       Verdict::kOtherDatabase},
      {"a standby of another cluster",
       {.in_recovery = true, .system_identifier = 8},
       Verdict::kOtherDatabase,
       Verdict::kOtherDatabase},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(Judge(row.state, seen, /*writes=*/true), row.writing) << row.what;
    EXPECT_EQ(Judge(row.state, seen, /*writes=*/false), row.reading) << row.what;
  }
}

TEST(Judge, KnowsNothingOfWhatNobodyHasSeen) {
  EXPECT_EQ(Judge(Server(1, {0, 0}), Seen{}, true), Verdict::kFit);
  EXPECT_EQ(Judge(Standby(), Seen{}, true), Verdict::kStandby);
}

TEST(Choose, TakesTheNewestPrimaryWhicheverComesFirst) {
  const Seen nothing;
  EXPECT_EQ(Choose({Server(1), Server(2)}, nothing), 1u);
  EXPECT_EQ(Choose({Server(2), Server(1)}, nothing), 0u);
  EXPECT_EQ(Choose({Standby(), Server(1)}, nothing), 1u);
  EXPECT_EQ(Choose({ReadOnly(1), Server(1)}, nothing), 1u);
  EXPECT_EQ(Choose({Server(1), Server(1)}, nothing), 0u) << "the first of equals";
  EXPECT_EQ(Choose({Standby(), Standby()}, nothing), 0u) << "somebody has to say that it is none";
}

TEST(Choose, TakesNoOtherCluster) {
  const Seen seen{.system_identifier = 7, .timeline = 2};
  const ServerState other{.system_identifier = 8, .timeline = 9};
  EXPECT_EQ(Choose({other, Server(2)}, seen), 1u);
  EXPECT_EQ(Choose({other, Standby()}, seen), 1u);
  EXPECT_EQ(Choose({Server(1), Standby()}, seen), 1u) << "an old primary is worse than none";
}

TEST(Primary, RefusesWhatLacksChangesThatWatchesWereToldOf) {
  Primary primary;
  ASSERT_TRUE(primary.Weigh(Server(1, {9, 4}), primary.seen(), /*writes=*/true).ok());
  primary.Saw({10, 3}, /*timeline=*/1);
  EXPECT_EQ(primary.seen().positions, (std::vector<int64_t>{10, 4}));
  EXPECT_FALSE(primary.Weigh(Server(2, {9, 4}), primary.seen(), /*writes=*/true).ok());
  EXPECT_TRUE(primary.Weigh(Server(2, {10, 4}), primary.seen(), /*writes=*/true).ok());
  primary.Saw({99, 99}, /*timeline=*/1);
  EXPECT_EQ(primary.seen().positions, (std::vector<int64_t>{10, 4})) << "of the old primary";
}

TEST(Primary, RemembersTheHighestOfWhatItHasSeen) {
  Primary primary;
  ASSERT_TRUE(primary.Weigh(Server(2, {1, 2}), primary.seen(), true).ok());
  ASSERT_TRUE(primary.Weigh(Server(3, {1, 5}), primary.seen(), true).ok());
  primary.Acknowledged({{0, 4}, {2, 1}});
  EXPECT_EQ(primary.timeline(), 3);
  EXPECT_EQ(primary.seen().positions, (std::vector<int64_t>{4, 5, 1}));
  EXPECT_FALSE(primary.Weigh(Server(2, {9, 9, 9}), primary.seen(), false).ok());
  EXPECT_FALSE(primary.Weigh(Server(3, {3, 5, 1}), primary.seen(), false).ok())
      << "what was acknowledged is missing";
  EXPECT_EQ(primary.timeline(), 3);
}

// What a server said, while another thread's lane committed, is not behind.
TEST(Primary, WeighsByWhatHadBeenSeenBeforeItAsked) {
  Primary primary;
  ASSERT_TRUE(primary.Weigh(Server(1, {1}), primary.seen(), true).ok());
  const Seen before = primary.seen();
  primary.Acknowledged({{0, 2}});
  EXPECT_TRUE(primary.Weigh(Server(1, {1}), before, true).ok());
  EXPECT_EQ(primary.seen().positions, (std::vector<int64_t>{2}));
  // Nor does it take back the promotion that another thread saw meanwhile.
  ASSERT_TRUE(primary.Weigh(Server(2, {2}), primary.seen(), true).ok());
  EXPECT_TRUE(primary.Weigh(Server(1, {1}), before, true).ok());
  EXPECT_EQ(primary.timeline(), 2);
  EXPECT_EQ(primary.seen().timeline, 2);
}

TEST(Primary, RefusesLoudlyWhatWouldTakeWritesThatNobodySeesAgain) {
  Primary primary;
  ASSERT_TRUE(primary.Weigh(Server(2), primary.seen(), true).ok());
  const absl::Status standby = primary.Weigh(Standby(), primary.seen(), true);
  EXPECT_EQ(ReasonOf(standby), v1::DATABASE_UNAVAILABLE) << standby;
  EXPECT_EQ(TroubleOf(standby), "it is a standby");
  EXPECT_TRUE(primary.refusal().ok()) << "a failover that is under way is no alarm";

  const absl::Status old = primary.Weigh(Server(1), primary.seen(), true);
  EXPECT_EQ(ReasonOf(old), v1::DATABASE_UNAVAILABLE) << old;
  EXPECT_TRUE(absl::IsFailedPrecondition(primary.refusal()));
  for (const char* word : {"timeline is 1", "timeline 2", "restart the daemon"}) {
    EXPECT_NE(std::string(primary.refusal().message()).find(word), std::string::npos)
        << primary.refusal();
  }
  ASSERT_TRUE(primary.Weigh(Server(2), primary.seen(), true).ok());
  EXPECT_TRUE(primary.refusal().ok()) << "it is back";
}

}  // namespace
}  // namespace sessiond::db
