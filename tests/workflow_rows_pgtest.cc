// Revisions of workflows in a real database: created once however many create them at once, kept
// when the daemon starts again, and known to the other daemons.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "db/rows/workflow_rows.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

v1::Workflow Titled(const std::string& title) {
  v1::Workflow definition = BuiltinDefinition("onboarding");
  definition.set_display_name(title);
  return definition;
}

// Once, whether others are at it or not.
std::optional<StoredWorkflow> Insert(const TestDatabase& database, const v1::Workflow& definition,
                                     Unless unless = Unless::kNewestIsSame) {
  const auto connection = database.Connect();
  const Sql insert = InsertWorkflowSql(definition, unless);
  connection->QueueSql(insert.text, insert.params);
  const auto results = connection->RoundTrip(TestDeadline());
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? ReadStoredWorkflow(results->front()) : std::nullopt;
}

void Refresh(SessionStore& store) {
  const absl::Status refreshed = Wait(store.RefreshWorkflows(TestDeadline()));
  EXPECT_TRUE(refreshed.ok()) << refreshed;
}

TEST(WorkflowRows, ARevisionIsCreatedUnlessItIsTheNewestAlready) {
  TestDatabase database;
  struct Step {
    const char* title;
    Unless unless;
    int revision;
    bool created;
  };
  for (const Step& step : {
           Step{"a", Unless::kNewestIsSame, 1, true},
           Step{"a", Unless::kNewestIsSame, 1, false},
           Step{"b", Unless::kNewestIsSame, 2, true},
           Step{"a", Unless::kAnyIsSame, 1, false},
           Step{"a", Unless::kNewestIsSame, 3, true},
           Step{"a", Unless::kAnyIsSame, 3, false},
           Step{"c", Unless::kAnyIsSame, 4, true},
       }) {
    v1::Workflow definition = Titled(step.title);
    definition.set_revision(77);  // Of no consequence.
    const auto stored = Insert(database, definition, step.unless);
    ASSERT_TRUE(stored.has_value());
    EXPECT_EQ(stored->revision, step.revision) << step.title;
    EXPECT_EQ(stored->created(), step.created) << step.title << " " << step.revision;
  }
}

TEST(WorkflowRows, WhatAllCreateAtOnceIsCreatedOnce) {
  TestDatabase database;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      std::optional<StoredWorkflow> stored;
      while (!stored.has_value()) stored = Insert(database, Titled("the same"));
      EXPECT_EQ(stored->revision, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM workflows WHERE name = 'onboarding'"), "1");
}

TEST(WorkflowRows, WhatDiffersGetsRevisionsWithoutAGap) {
  TestDatabase database;
  constexpr int kEach = 5;
  std::vector<std::thread> threads;
  std::vector<std::vector<int>> revisions(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kEach; ++n) {
        std::optional<StoredWorkflow> stored;
        while (!stored.has_value()) stored = Insert(database, Titled(absl::StrCat(i, " ", n)));
        revisions[i].push_back(stored->revision);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<int> all;
  for (const auto& of_one : revisions) all.insert(of_one.begin(), of_one.end());
  EXPECT_EQ(all.size(), 4u * kEach);
  EXPECT_EQ(*all.begin(), 1);
  EXPECT_EQ(*all.rbegin(), 4 * kEach);
}

TEST(WorkflowRows, WhoLosesTheRaceForARevisionTriesAgain) {
  TestDatabase database;
  const auto other = database.Connect();
  ASSERT_TRUE(other
                  ->Execute("BEGIN; INSERT INTO workflows (name, revision, definition) VALUES "
                            "('onboarding', 1, '{}')",
                            TestDeadline())
                  .ok());
  std::optional<StoredWorkflow> stored = StoredWorkflow{};
  std::thread loser([&] { stored = Insert(database, Titled("late")); });
  while (database.Ask("SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                      "AND datname = current_database()") != "1") {
  }
  ASSERT_TRUE(other->Execute("COMMIT", TestDeadline()).ok());
  loser.join();
  EXPECT_FALSE(stored.has_value());
  stored = Insert(database, Titled("late"));
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->revision, 2);
}

TEST(WorkflowRows, AStartDoesNotUndoWhatWasCreatedSince) {
  TestDatabase database;
  v1::Workflow changed = BuiltinDefinition("interview");
  changed.set_display_name("Changed by hand");
  OpenStore(database);
  ASSERT_EQ(Insert(database, changed)->revision, 2);
  const auto again = OpenStore(database);
  EXPECT_EQ(again->catalog().Newest("interview")->definition().display_name(), "Changed by hand");
  EXPECT_EQ(again->catalog().Newest("interview")->revision(), 2);
  // What a newer daemon brings along is new.
  changed.set_display_name("Of a newer daemon");
  const auto newer =
      OpenStore(database, [&](SessionStoreOptions& options) { options.workflows = {changed}; });
  EXPECT_EQ(newer->catalog().Newest("interview")->revision(), 3);
}

TEST(WorkflowRows, AreReadAgainOnlyWhenThereAreMore) {
  TestDatabase database;
  const auto one = OpenStore(database);
  const auto two = OpenStore(database);
  ASSERT_EQ(Insert(database, Titled("first"))->revision, 1);
  EXPECT_EQ(two->catalog().Newest("onboarding"), nullptr);
  Refresh(*two);
  const auto found = two->catalog().Newest("onboarding");
  ASSERT_NE(found, nullptr);
  Refresh(*two);
  EXPECT_EQ(two->catalog().Newest("onboarding"), found) << "read though nothing was new";
  ASSERT_EQ(Insert(database, Titled("second"))->revision, 2);
  Refresh(*two);
  EXPECT_EQ(two->catalog().Newest("onboarding")->revision(), 2);
  Refresh(*one);
  EXPECT_EQ(one->catalog().Newest("onboarding")->definition().display_name(), "second");
}

TEST(WorkflowRows, OneThatIsNotUnderstoodIsNotReadOverAndOver) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const auto other = database.Connect();
  ASSERT_TRUE(other
                  ->Execute("INSERT INTO workflows (name, revision, definition) VALUES "
                            "('later', 1, '{\"from\": \"a later version\"}')",
                            TestDeadline())
                  .ok());
  Refresh(*store);
  EXPECT_EQ(store->catalog().Newest("later"), nullptr);
  const auto interview = store->catalog().Newest("interview");
  Refresh(*store);
  EXPECT_EQ(store->catalog().Newest("interview"), interview);
}

}  // namespace
}  // namespace sessiond::db
