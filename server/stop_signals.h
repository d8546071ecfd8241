// SIGTERM and SIGINT, at any moment of the process's life: the first asks the work in progress to
// end, the second exits at once. A thread of its own receives them; all other threads block them,
// from before main() on, so that none is lost and none interrupts anything. SIGHUP asks a daemon
// that serves to load its files again; before that it ends the process, as elsewhere.
#pragma once

#include <signal.h>

#include <atomic>
#include <functional>
#include <stop_token>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace sessiond {

class StopSignals {
 public:
  // Receives them from now on. Once, and for good. REQUIRES: no forks after this.
  static StopSignals& Take();

  // Work that can be stopped checks this.
  std::stop_token token() const { return source_.get_token(); }
  // The first signal received; 0 for none.
  int first() const { return first_; }

  // If the work does not end within some seconds of the request, the process exits with this code:
  // the work may be waiting for a database that does not respond. Without one it is the signal's.
  void LeaveWith(int code) { code_ = code; }
  // From here on there is no time limit.
  void TakeTime() { takes_time_ = true; }
  // Waits for the first signal. Meanwhile SIGHUP calls `reload`, on another thread; if that is
  // false, it is a signal like the others.
  void Await(std::function<bool()> reload);

 private:
  StopSignals() = default;
  [[noreturn]] void Run();
  // Whether SIGHUP was taken for what it asks.
  bool Reload();

  std::stop_source source_;
  std::atomic<int> first_ = 0;
  std::atomic<int> code_ = -1;
  std::atomic<bool> takes_time_ = false;
  absl::Mutex mutex_;
  std::function<bool()> reload_ ABSL_GUARDED_BY(mutex_);
};

// While it lives, these signals end the process, as elsewhere: it may wait for a pipe that nobody
// writes. REQUIRES: there is one thread.
class UntilSignalled {
 public:
  UntilSignalled();
  ~UntilSignalled();
  UntilSignalled(const UntilSignalled&) = delete;

 private:
  sigset_t before_;
};

// As the first process of a container, PID 1, a process has two duties that a daemon does not
// expect: it becomes the parent of every orphan and has to reap it, and no signal has a default
// effect on it. If this process is PID 1, it forks and stays behind only for that: it forwards
// signals, and exits as its child exits; the child returns from here. Otherwise nothing happens.
// REQUIRES: there is one thread.
void LeaveInitDuties();

}  // namespace sessiond
