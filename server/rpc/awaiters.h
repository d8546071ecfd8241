// The database's doors, as things a handler can co_await. Each is the very node that waits in an
// inbox: it lives in the awaiting coroutine's frame, and nothing is allocated for it.
#pragma once

#include <coroutine>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "db/session_store.h"

namespace sessiond::rpc {

// co_await Change(store, command, deadline) → what became of it.
class Change : public db::Submission {
 public:
  Change(db::SessionStore& store, Command command_given, absl::Time deadline_given)
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

// co_await Read(store, ids, deadline) → the aggregate of each id.
class Read : public db::Lookup {
 public:
  Read(db::SessionStore& store, std::vector<std::string> ids_given, absl::Time deadline_given)
      : store_(store) {
    ids = std::move(ids_given);
    deadline = deadline_given;
  }
  Read(const Read&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    waiter_ = handle;
    const absl::Status taken = store_.Submit(this);
    if (taken.ok()) return true;
    found = taken;
    return false;
  }
  absl::StatusOr<std::vector<Aggregate>> await_resume() { return std::move(found); }
  void Done() noexcept override { waiter_.resume(); }

 private:
  db::SessionStore& store_;
  std::coroutine_handle<> waiter_;
};

// co_await Query(pool, sql, deadline) → its result.
class Query {
 public:
  Query(db::QueryPool& pool, db::Sql sql, absl::Time deadline)
      : pool_(pool), sql_(std::move(sql)), deadline_(deadline) {}
  Query(const Query&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    std::vector<db::Sql> trip;
    trip.push_back(std::move(sql_));
    pool_.Run(std::move(trip), deadline_, [this, handle](db::QueryPool::Results results) {
      results_ = std::move(results);
      handle.resume();
    });
  }
  absl::StatusOr<db::Result> await_resume() {
    if (!results_.ok()) return results_.status();
    return std::move(results_->back());
  }

 private:
  db::QueryPool& pool_;
  db::Sql sql_;
  absl::Time deadline_;
  db::QueryPool::Results results_ = absl::UnknownError("not run");
};

}  // namespace sessiond::rpc
