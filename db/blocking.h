// Submissions for threads that may wait: the daemon's own sweepers, and tests. Handlers await
// instead (rpc/awaiters.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "db/session_store.h"

namespace sessiond::db {

// Submits, waits, and answers what became of it.
inline absl::StatusOr<Outcome> SubmitAndWait(SessionStore& store, Command command) {
  struct Waiting : Submission {
    absl::Notification done;
    void Done() noexcept override { done.Notify(); }
  } waiting;
  waiting.command = std::move(command);
  if (auto taken = store.Submit(&waiting); !taken.ok()) return taken;
  waiting.done.WaitForNotification();
  return std::move(waiting.outcome);
}

// Submits all side by side, waits, and answers what became of each.
inline std::vector<absl::StatusOr<Outcome>> SubmitAllAndWait(SessionStore& store,
                                                             std::vector<Command> commands) {
  struct Waiting : Submission {
    absl::BlockingCounter* done = nullptr;
    void Done() noexcept override { done->DecrementCount(); }
  };
  absl::BlockingCounter done(static_cast<int>(commands.size()));
  std::vector<Waiting> waiting(commands.size());
  for (std::size_t i = 0; i < commands.size(); ++i) {
    waiting[i].done = &done;
    waiting[i].command = std::move(commands[i]);
    if (auto taken = store.Submit(&waiting[i]); !taken.ok()) {
      waiting[i].outcome = taken;
      done.DecrementCount();
    }
  }
  done.Wait();
  std::vector<absl::StatusOr<Outcome>> outcomes;
  for (Waiting& one : waiting) outcomes.push_back(std::move(one.outcome));
  return outcomes;
}

// Looks sessions up, and waits: what became of each id.
inline absl::StatusOr<std::vector<Aggregate>> ReadAllAndWait(SessionStore& store,
                                                             std::vector<std::string> session_ids) {
  const auto found = Wait(store.LookupSessions(std::move(session_ids), {}));
  if (!found.ok()) return found.status();
  std::vector<Aggregate> aggregates;
  for (const FoundSession& each : *found) aggregates.push_back(each.ToAggregate());
  return aggregates;
}

// The same of one.
inline absl::StatusOr<Aggregate> ReadAndWait(SessionStore& store, const std::string& session_id) {
  auto aggregates = ReadAllAndWait(store, {session_id});
  if (!aggregates.ok()) return aggregates.status();
  return std::move(aggregates->front());
}

}  // namespace sessiond::db
