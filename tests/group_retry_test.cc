// What Settle makes of a group, whatever running it answers: halves, races, locks. No database.
#include "db/write/group_retry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "db/connection/sql_error.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

// Its session is the letter of its name: `a1`, `a2` and `b1` are of two sessions.
struct Item : Submission {
  std::string name;
  void Done() noexcept override {}
};

std::string NamesOf(Group group) {
  return absl::StrJoin(group, " ", [](std::string* out, const Submission* submission) {
    out->append(static_cast<const Item*>(submission)->name);
  });
}

absl::Status Sql(absl::string_view sqlstate) {
  return SqlError(sqlstate, "test", "test", /*expected=*/true);
}

struct Case {
  const char* what;
  std::string group;
  // Whoever has one of these in his group is answered so.
  std::string culprits;
  absl::Status why;
  // What is found to be locked.
  std::string locked = "";
  // How often, where not for ever.
  int times = 100;
  // What is run; of which commands the outcome is no success; which are blocked.
  std::string runs, refused, blocked;
};

std::vector<Submission*> GroupOf(absl::string_view names, std::deque<Item>* items) {
  std::vector<Submission*> group;
  for (absl::string_view name : absl::StrSplit(names, ' ')) {
    Item& item = items->emplace_back();
    item.name = std::string(name);
    item.command.session_id = std::string(name.substr(0, 1));
    group.push_back(&item);
  }
  return group;
}

std::vector<Submission*> BlockedOf(const std::vector<Blocked>& blocked) {
  std::vector<Submission*> submissions;
  for (const Blocked& one : blocked) submissions.push_back(one.submission);
  return submissions;
}

class Runner : public GroupRunner {
 public:
  explicit Runner(const Case& given)
      : given_(given), times_(given.times), culprits_(absl::StrSplit(given.culprits, ' ')) {}

  absl::Status Run(Group group) override {
    runs.push_back(NamesOf(group));
    const std::vector<std::string> names = absl::StrSplit(runs.back(), ' ');
    for (const std::string& name : names) {
      if (testing::Value(culprits_, testing::Contains(name)) && times_-- > 0) return given_.why;
    }
    for (Submission* submission : group) submission->outcome = Outcome();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group) override {
    absl::flat_hash_set<absl::string_view> sessions;
    for (const Submission* submission : group) {
      if (given_.locked.find(static_cast<const Item*>(submission)->name) != std::string::npos)
        sessions.insert(submission->command.session_id);
    }
    return BlockedBy(group, {}, sessions);
  }

  bool AwaitConnection(SteadyTime) override { return ++waits_ < 3; }

  std::vector<std::string> runs;

 private:
  const Case& given_;
  int times_, waits_ = 0;
  const std::vector<std::string> culprits_;
};

TEST(Settle, EveryCommandGetsItsOutcomeOrIsKnownToBeBlocked) {
  const std::string kAll = "a1 b1 a2 c1";
  const std::vector<Case> cases = {
      {.what = "nothing is wrong", .group = kAll, .culprits = "", .runs = kAll},
      {.what = "the culprit is found in halves; nobody else is refused or run twice",
       .group = kAll,
       .culprits = "a2",
       .why = Sql("23514"),
       .runs = "a1 b1 a2 c1|a1 b1|a2 c1|a2|c1",
       .refused = "a2"},
      {.what = "two culprits",
       .group = "a1 b1 c1",
       .culprits = "a1 c1",
       .why = Sql("23514"),
       .runs = "a1 b1 c1|a1|b1 c1|b1|c1",
       .refused = "a1 c1"},
      {.what = "a failure that is nobody's is not looked for in halves",
       .group = "a1 b1",
       .culprits = "b1",
       .why = Sql("57014"),
       .runs = "a1 b1",
       .refused = "a1 b1"},
      {.what = "a file that cannot be read fails those who need it",
       .group = "a1 b1",
       .culprits = "b1",
       .why = Sql("58030"),
       .runs = "a1 b1|a1|b1",
       .refused = "b1"},
      {.what = "nor is one of a session that is another's: it runs again while there is hope",
       .group = "a1 b1",
       .culprits = "b1",
       .why = Sql("26000"),
       .runs = "a1 b1|a1 b1|a1 b1",
       .refused = "a1 b1"},
      {.what = "a race that is lost is run again",
       .group = "a1 b1",
       .culprits = "b1",
       .why = Sql("40001"),
       .times = 2,
       .runs = "a1 b1|a1 b1|a1 b1"},
      {.what = "five times",
       .group = "a1",
       .culprits = "a1",
       .why = Sql("40P01"),
       .runs = "a1|a1|a1|a1|a1",
       .refused = "a1"},
      {.what = "a connection that is lost is waited for, while that is worth it",
       .group = "a1",
       .culprits = "a1",
       .why = ConnectionLost("test"),
       .runs = "a1|a1|a1",
       .refused = "a1"},
      {.what = "what is locked is left out, with what comes behind it for the same session",
       .group = kAll,
       .culprits = "a1 a2",
       .why = Sql("55P03"),
       .locked = "a1",
       .runs = "a1 b1 a2 c1|b1 c1",
       .blocked = "a1 a2"},
      {.what = "a lock that has gone meanwhile",
       .group = "a1 b1",
       .culprits = "a1",
       .why = Sql("55P03"),
       .times = 1,
       .runs = "a1 b1|a1 b1"},
      {.what = "a lock of another kind",
       .group = "a1 b1",
       .culprits = "a1",
       .why = Sql("55P03"),
       .runs = "a1 b1|a1 b1",
       .blocked = "a1 b1"},
  };
  for (const Case& given : cases) {
    SCOPED_TRACE(given.what);
    std::deque<Item> items;
    const std::vector<Submission*> group = GroupOf(given.group, &items);
    Runner runner(given);
    const std::vector<Submission*> blocked = BlockedOf(Settle(runner, group));
    std::vector<Submission*> refused;
    for (Submission* submission : group) {
      const bool left_out = testing::Value(blocked, testing::Contains(submission));
      if (!left_out && !submission->outcome.ok()) refused.push_back(submission);
    }
    EXPECT_EQ(absl::StrJoin(runner.runs, "|"), given.runs);
    EXPECT_EQ(NamesOf(refused), given.refused);
    EXPECT_EQ(NamesOf(blocked), given.blocked);
  }
}

// What is blocked in the first half blocks its session in the second, which nobody asked about.
TEST(Settle, AHalfLeavesOutWhatIsBehindABlockedCommandOfTheOther) {
  struct Both : GroupRunner {
    absl::Status Run(Group group) override {
      runs.push_back(NamesOf(group));
      if (group.size() == 4) return Sql("23514");
      if (runs.back() == "a1 b1") return Sql("55P03");
      for (Submission* submission : group) submission->outcome = Outcome();
      return absl::OkStatus();
    }
    absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group) override {
      return BlockedBy(group, {}, {"a"});
    }
    bool AwaitConnection(SteadyTime) override { return false; }
    std::vector<std::string> runs;
  } runner;
  std::deque<Item> items;
  const std::vector<Submission*> group = GroupOf("a1 b1 a2 c1", &items);
  const std::vector<Submission*> blocked = BlockedOf(Settle(runner, group));
  EXPECT_EQ(absl::StrJoin(runner.runs, "|"), "a1 b1 a2 c1|a1 b1|b1|c1");
  EXPECT_EQ(NamesOf(blocked), "a1 a2");
}

// A creation is blocked by the partition of its request: others of its session, before it, need not
// be, at first. The lock queue gets them in their order all the same.
TEST(Settle, WhatIsBlockedLaterMayComeBeforeWhatWasBlockedFirst) {
  struct ByAndBy : GroupRunner {
    absl::Status Run(Group group) override {
      return group.size() > 1 ? Sql("55P03") : absl::OkStatus();
    }
    absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group) override {
      return std::vector<Blocked>{{group[group.size() == 3 ? 1 : 0], Blocked::By::kPartition, 7}};
    }
    bool AwaitConnection(SteadyTime) override { return false; }
  } runner;
  std::deque<Item> items;
  const std::vector<Submission*> group = GroupOf("a1 a2 b1", &items);
  EXPECT_EQ(NamesOf(BlockedOf(Settle(runner, group))), "a1 a2");
}

}  // namespace
}  // namespace sessiond::db
