// SIGTERM and SIGINT, at any moment of the process's life: the first asks whatever is under way to
// end, the second leaves at once. They are taken by a thread of their own, and held back everywhere
// else, from before main() on, so that none is lost and none interrupts anything.
#pragma once

#include <atomic>
#include <stop_token>

namespace sessiond {

class StopSignals {
 public:
  // Takes them from now on. Once, and for good. REQUIRES: nobody forks any more.
  static StopSignals& Take();

  // What was asked to end looks here.
  std::stop_token token() const { return source_.get_token(); }
  // The first that came; 0 for none.
  int first() const { return first_; }

  // Whatever is under way ends some seconds after it was asked to, or the process is left, with
  // this exit code: it may wait for a database that is silent. Without one it is the signal's.
  void LeaveWith(int code) { code_ = code; }
  // From here on it takes its time.
  void TakeTime() { takes_time_ = true; }
  // Waits for the first signal.
  void Await();

 private:
  StopSignals() = default;
  [[noreturn]] void Run();

  std::stop_source source_;
  std::atomic<int> first_ = 0;
  std::atomic<int> code_ = -1;
  std::atomic<bool> takes_time_ = false;
};

// The kernel gives the first process of a container, PID 1, two duties that a daemon does not know
// of: whoever loses his parent becomes its child and has to be buried by it, and no signal has a
// default effect on it. Where this process is that one, it stays behind for just that, passes
// signals on, and ends as its child ends; the child returns from here. Elsewhere nothing happens.
// REQUIRES: there is one thread.
void LeaveInitDuties();

}  // namespace sessiond
