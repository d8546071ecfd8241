// The database's doors, as things a handler can co_await. Each is the very node that waits in an
// inbox: it lives in the awaiting coroutine's frame, and nothing is allocated for it.
#pragma once

#include <atomic>
#include <coroutine>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "db/session_store.h"

namespace sessiond::rpc {

// co_await Change(store, command, deadline) → what became of it.
class Change : public db::Submission {
 public:
  Change(db::SessionStore& store, Command command_given, db::Deadline deadline_given)
      : store_(store) {
    command = std::move(command_given);
    deadline = deadline_given;
  }
  Change(const Change&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    waiter_ = handle;
    const absl::Status taken = store_.Submit(this);
    // Once it is taken the coroutine may run, and end, on the lane's thread: nothing of ours is
    // touched any more.
    if (taken.ok()) return true;
    outcome = taken;
    return false;
  }
  absl::StatusOr<db::Outcome> await_resume() { return std::move(outcome); }
  void Done() noexcept override { waiter_.resume(); }

 private:
  db::SessionStore& store_;
  std::coroutine_handle<> waiter_;
};

// co_await ChangeAll(store, commands, deadline) → what became of each, when the last is done.
class ChangeAll {
 public:
  ChangeAll(db::SessionStore& store, std::vector<Command> commands, db::Deadline deadline)
      : store_(store), parts_(commands.size()), left_(commands.size() + 1) {
    for (std::size_t i = 0; i < commands.size(); ++i) {
      parts_[i].all = this;
      parts_[i].command = std::move(commands[i]);
      parts_[i].deadline = deadline;
    }
  }
  ChangeAll(const ChangeAll&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    waiter_ = handle;
    for (Part& part : parts_) {
      const absl::Status taken = store_.Submit(&part);
      if (taken.ok()) continue;
      part.outcome = taken;
      --left_;
    }
    // Ours: until here none of them may resume the waiter.
    return --left_ > 0;
  }
  std::vector<absl::StatusOr<db::Outcome>> await_resume() {
    std::vector<absl::StatusOr<db::Outcome>> outcomes;
    for (Part& part : parts_) outcomes.push_back(std::move(part.outcome));
    return outcomes;
  }

 private:
  struct Part : db::Submission {
    ChangeAll* all = nullptr;
    void Done() noexcept override {
      if (--all->left_ == 0) all->waiter_.resume();
    }
  };

  db::SessionStore& store_;
  std::vector<Part> parts_;
  std::atomic<std::size_t> left_;
  std::coroutine_handle<> waiter_;
};

// co_await Read(store, ids, deadline) → what became of each id.
class Read : public db::Lookup {
 public:
  Read(db::SessionStore& store, std::vector<std::string> ids_given, db::Deadline deadline_given)
      : store_(store) {
    ids = std::move(ids_given);
    deadline = deadline_given;
  }
  Read(const Read&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    waiter_ = handle;
    const absl::Status taken = store_.Submit(this);
    if (taken.ok()) return true;  // And nothing of ours is touched any more, as with Change.
    found = taken;
    return false;
  }
  absl::StatusOr<std::vector<db::FoundSession>> await_resume() { return std::move(found); }
  void Done() noexcept override { waiter_.resume(); }

 private:
  db::SessionStore& store_;
  std::coroutine_handle<> waiter_;
};

// co_await Queries(pool, statements, deadline) → their results, of one trip and one moment.
class Queries {
 public:
  Queries(db::QueryPool& pool, std::vector<db::Sql> trip, db::Deadline deadline)
      : pool_(pool), trip_(std::move(trip)), deadline_(deadline) {}
  Queries(const Queries&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    pool_.Run(std::move(trip_), deadline_, [this, handle](db::QueryPool::Results results) {
      results_ = std::move(results);
      handle.resume();
    });
  }
  db::QueryPool::Results await_resume() { return std::move(results_); }

 private:
  db::QueryPool& pool_;
  std::vector<db::Sql> trip_;
  db::Deadline deadline_;
  db::QueryPool::Results results_ = absl::UnknownError("not run");
};

// co_await Query(pool, sql, deadline) → its result.
class Query : private Queries {
 public:
  Query(db::QueryPool& pool, db::Sql sql, db::Deadline deadline)
      : Queries(pool, {std::move(sql)}, deadline) {}

  using Queries::await_ready;
  using Queries::await_suspend;
  absl::StatusOr<db::Result> await_resume() {
    db::QueryPool::Results results = Queries::await_resume();
    if (!results.ok()) return results.status();
    return std::move(results->back());
  }
};

// co_await Refresh(store, deadline) → whether the catalogue has what there is by now.
class Refresh {
 public:
  Refresh(db::SessionStore& store, db::Deadline deadline) : store_(store), deadline_(deadline) {}
  Refresh(const Refresh&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    store_.RefreshWorkflows(deadline_, [this, handle](absl::Status status) {
      status_ = std::move(status);
      handle.resume();
    });
  }
  absl::Status await_resume() { return std::move(status_); }

 private:
  db::SessionStore& store_;
  db::Deadline deadline_;
  absl::Status status_;
};

}  // namespace sessiond::rpc
