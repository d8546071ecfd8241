// Submissions for threads that may block, as the sweeper's. Handlers await (rpc/awaiters.h).
#pragma once

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "db/session_store.h"

namespace sessiond::db {

// Submits all in parallel, waits, and returns each result.
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

}  // namespace sessiond::db
