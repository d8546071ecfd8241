#include "server/last_resort.h"

#include <unistd.h>

#include <utility>

#include "server/ops/log.h"

namespace sessiond {

LastResort::LastResort(Options options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

LastResort::~LastResort() {
  over_.Notify();
  begun_.Notify();
  thread_.join();
}

void LastResort::Run() {
  while (!begun_.WaitAtMost(absl::InfiniteDuration())) {
  }
  if (over_.WaitAtMost(options_.patience)) return;
  Log(LogLevel::kError, "daemon",
      "what was under way did not end within --shutdown-grace: leaving it; whoever waits for it is "
      "told to try again");
  AwaitLogWritten();
  _exit(options_.exit_code());
}

}  // namespace sessiond
