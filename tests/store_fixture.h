// Stores on a database of one test, and what must be true of that database whatever was done to it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "db/connection/connection.h"
#include "db/session_store.h"
#include "state_machine/refusal.h"
#include "tests/commands.h"
#include "tests/postgres_fixture.h"

namespace sessiond::db {

// A store with the built-in workflows; `change` has the last word on its options.
std::unique_ptr<SessionStore> OpenStore(
    const TestDatabase& database,
    const std::function<void(SessionStoreOptions&)>& change = [](SessionStoreOptions&) {});

// For threads that may wait: what became of a command, of sessions by id, of one.
absl::StatusOr<Outcome> SubmitAndWait(SessionStore& store, Command command);
absl::StatusOr<std::vector<Aggregate>> ReadAllAndWait(SessionStore& store,
                                                      std::vector<std::string> session_ids);
absl::StatusOr<Aggregate> ReadAndWait(SessionStore& store, const std::string& session_id);

// Creates a session of this workflow, and answers it.
v1::Session NewSessionIn(SessionStore& store, const std::string& workflow,
                         const v1::CreateSessionRequest* request = nullptr);

// A command that somebody waits for later.
class Pending : public Submission {
 public:
  Pending(SessionStore& store, Command change, Deadline until = {});
  // A lane still knows it until it is done.
  ~Pending() override { Wait(); }
  void Done() noexcept override { done_.Notify(); }
  // What became of it, whether it was let in or not.
  const absl::StatusOr<Outcome>& Wait();
  bool done() const { return done_.HasBeenNotified(); }

 private:
  absl::Notification done_;
};

using PendingList = std::vector<std::unique_ptr<Pending>>;

// Somebody's transaction, which holds what its statement locks.
class ByHand {
 public:
  ByHand(const TestDatabase& database, const std::string& sql);
  ~ByHand() { Release(); }
  void Release();

 private:
  std::unique_ptr<Connection> connection_;
};

std::string LockPartition(int partition);

// Keeps a store of one lane busy while it lives, so that what is submitted meanwhile makes one
// group: the lane waits for the lock of a decoy's partition, which this holds.
class Stall {
 public:
  Stall(const TestDatabase& database, SessionStore& store);
  ~Stall() { Release(); }
  void Release();

 private:
  std::unique_ptr<ByHand> lock_;
  std::unique_ptr<Pending> waiting_;
};

// Every session of the database, as its row has it.
std::map<std::string, v1::Session> AllSessions(const TestDatabase& database);
// Every event, by session, in the order of positions.
std::map<std::string, std::vector<v1::SessionEvent>> AllEvents(const TestDatabase& database);
// How many events a request left; 1 for a command that tells of one fact and took effect once.
std::map<std::string, int> EventsByRequest(const TestDatabase& database);

// Positions are dense in every partition, but for those of sessions that ended; every session's
// sequence is gapless, each fact begins where the one before ended, and all of them together
// rebuild the session's row; what lies below a session has its session, and is counted right; of a
// session that ended a tombstone and its last event are left. There is one request row for each
// request that left an event.
void ExpectSound(const TestDatabase& database);

}  // namespace sessiond::db
