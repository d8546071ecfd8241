// The order in which a lock queue takes commands over. No database: what it tries is answered so.
#include "db/write/lock_queue.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

struct Item : Submission {
  Item(std::string session_id, int16_t request_partition_of) {
    command.session_id = std::move(session_id);
    request_partition = request_partition_of;
  }
  absl::Notification done;
  void Done() noexcept override { done.Notify(); }
};

TEST(LockQueue, ACreationWhoseRequestIsLockedDoesNotOvertakeThoseOfItsSession) {
  WorkflowCatalog catalog;
  DatabaseClock clock;
  LaneOptions options;
  options.committer.settings.dsn = "host=/nowhere";
  options.committer.settings.lock_timeout = absl::Milliseconds(100);
  Item locked("other", 7), first("one", 1), free("two", 1), second("one", 7), third("one", 1);
  std::vector<Submission*> group = {&first, &free, &second, &third};
  LockQueue queue(options, catalog, clock);
  queue.Start();
  queue.Add({{&locked, Blocked::By::kPartition, 7}});
  queue.TakeOver(&group);
  EXPECT_EQ(group, std::vector<Submission*>{&free});
  queue.Drain();
  for (Item* item : {&locked, &first, &second, &third}) {
    EXPECT_TRUE(item->done.HasBeenNotified());
    EXPECT_EQ(CategoryOf(ReasonOf(item->outcome.status())), Category::kTemporary);
  }
}

// What it waits for is not known, and so not remembered: only that it waits.
TEST(LockQueue, WhileOneOfASessionWaitsTheLaterOnesDoToo) {
  WorkflowCatalog catalog;
  DatabaseClock clock;
  Item waits("one", 1), later("one", 1), free("two", 1);
  std::vector<Submission*> group = {&later, &free};
  LockQueue queue({}, catalog, clock);  // Never started: nothing is tried.
  queue.Add({{&waits, Blocked::By::kSomethingElse}});
  queue.TakeOver(&group);
  EXPECT_EQ(group, std::vector<Submission*>{&free});
  EXPECT_EQ(queue.waiting(), 2u);
}

}  // namespace
}  // namespace sessiond::db
