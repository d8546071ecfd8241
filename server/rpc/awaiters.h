// Awaiters for changes, to be co_awaited by handlers. Each one is itself the node in a lane's
// inbox: it lives in the awaiting coroutine's frame, and nothing is allocated for it. Reads are
// coroutines of the store.
#pragma once

#include <atomic>
#include <coroutine>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "db/session_store.h"

namespace sessiond::rpc {

// co_await Change(store, command, deadline) → its outcome.
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
    // Once submitted, the coroutine may run, and end, on the lane's thread: do not touch any member
    // after this.
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

// co_await ChangeAll(store, commands, deadline) → the outcome of each, when the last is done.
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
    // The one for us: until here no command may resume the waiter.
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

}  // namespace sessiond::rpc
