// Connections for queries that may take long: lists and counts. They are few, and not the lanes': a
// slow query delays other slow queries, never a change or a read by id.
//
//   Ask → queue (bounded) → a thread with its connection → one round trip → done
//
// Each round trip sets its own deadline in the database, so that nothing runs on for a caller that
// has gone.
#pragma once

#include <coroutine>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/deadline.h"
#include "db/connection/connection.h"
#include "db/connection/primary.h"
#include "db/connection/sql_text.h"
#include "db/query/question.h"

namespace sessiond::db {

struct QueryPoolOptions {
  std::string dsn;
  // 2: one long count leaves the other to lists; each busy one takes a core of PostgreSQL from the
  // lanes.
  int connections = 2;
  // The most that may wait: at a millisecond per list, about a second of work; if each waits for
  // the disk, a few seconds. More would only wait until they expire.
  int waiting_max = 1024;
  // The longest that a round trip may take, whatever its caller allows.
  absl::Duration round_trip_time_max = absl::Seconds(30);
  // False for statements that change what is not part of a session. A round trip whose connection
  // was lost is repeated: its statements must be idempotent.
  bool read_only = true;
  // What is known about the database; shared by all that use it.
  std::shared_ptr<Primary> primary = std::make_shared<Primary>();
};

class QueryPool {
 public:
  using Results = absl::StatusOr<std::vector<Result>>;
  using Done = absl::AnyInvocable<void(Results)>;
  template <class Answered>
  class Asking;

  // Starts the threads; they connect when there is work.
  explicit QueryPool(QueryPoolOptions options);
  // Shuts down.
  ~QueryPool();

  // Runs the statements of `statements`, which only read unless `read_only` is false, in one
  // transaction and passes their results to `done`, on a thread of the pool; on the caller's thread
  // if they are refused at once. `done` is called exactly once, with
  //   RESOURCE_EXHAUSTED / OVERLOADED: too many wait · DEADLINE_EXCEEDED: `deadline` passed,
  //   waiting or running · CANCELLED: the caller left while it waited · UNAVAILABLE /
  //   DATABASE_UNAVAILABLE: not reachable, or lost twice · UNAVAILABLE / DRAINING: shut down · what
  //   SqlError makes of an error.
  void Run(std::vector<Sql> statements, Deadline deadline, Done done);

  // co_await pool.Ask(question, deadline) → its answer, on a thread of the pool, or Run's error.
  template <class Answered>
  Asking<Answered> Ask(Question<Answered> question, Deadline deadline) {
    return Asking<Answered>(*this, std::move(question), deadline);
  }

  // Answers all that wait with DRAINING, lets running ones finish, and ends the threads. Run
  // refuses from now on.
  void Shutdown();

 private:
  struct Entry {
    std::vector<Sql> statements;
    Deadline deadline;
    Done done;
  };
  class Worker;

  // Waits for an entry; nothing when the pool shuts down.
  std::unique_ptr<Entry> Next();

  const QueryPoolOptions options_;

  absl::Mutex mutex_;
  std::deque<std::unique_ptr<Entry>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

// Lives in the awaiting coroutine's frame.
template <class Answered>
class QueryPool::Asking {
 public:
  Asking(QueryPool& pool, Question<Answered> question, Deadline deadline)
      : pool_(pool), question_(std::move(question)), deadline_(deadline) {}
  Asking(const Asking&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    pool_.Run(std::move(question_.statements), deadline_, [this, waiter](Results results) {
      results_ = std::move(results);
      waiter.resume();
    });
  }
  absl::StatusOr<Answered> await_resume() {
    if (!results_.ok()) return results_.status();
    return question_.read(*results_);
  }

 private:
  QueryPool& pool_;
  Question<Answered> question_;
  const Deadline deadline_;
  Results results_ = absl::UnknownError("not run");
};

}  // namespace sessiond::db
