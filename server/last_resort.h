// The end of a process whose work does not end: a thread that waits until an end is begun, and then
// exits the process if that takes too long. It is made in good time, because at the end there may
// be no thread to spare.
#pragma once

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond {

class LastResort {
 public:
  struct Options {
    absl::Duration patience;
    // The process's exit code. Called on the thread, if the time is up.
    std::function<int()> exit_code;
  };

  explicit LastResort(Options options);
  // The end has come.
  ~LastResort();
  LastResort(const LastResort&) = delete;

  // The time runs from now on.
  void Begin() { begun_.Notify(); }

 private:
  void Run();

  const Options options_;
  SteadyEvent begun_, over_;
  std::thread thread_;
};

}  // namespace sessiond
