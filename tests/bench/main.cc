// sessiond_bench: the two C++ halves of the benchmark. `tests/bench/run` starts both and makes
// sense of what they say.
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/synchronization/mutex.h"
#include "tests/bench/echo.h"
#include "tests/bench/load.h"

ABSL_FLAG(std::string, target, "127.0.0.1:7377", "load: where the daemon listens");
ABSL_FLAG(int, channels, 2, "load: how many connections the calls are spread over");
ABSL_FLAG(std::string, listen, "127.0.0.1:0", "echo: where to listen; port 0 draws one");

int main(int argc, char** argv) {
  // Debian's Abseil looks for deadlocks at every lock, and gRPC locks often: a tenth of the
  // generator's time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  absl::SetProgramUsageMessage(
      "sessiond_bench load|echo [flags]\n"
      "  load   calls the daemon as stdin says: `prepare OPERATION COUNT`, `OPERATION IN_FLIGHT "
      "SECONDS [RATE]`; load.h names the operations\n"
      "  echo   answers the same calls with nothing behind them, until stdin ends");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  const std::string subcommand = words.size() == 2 ? words[1] : "";
  if (subcommand == "load") {
    return sessiond::bench::RunLoad(
        {.target = absl::GetFlag(FLAGS_target), .channels = absl::GetFlag(FLAGS_channels)});
  }
  if (subcommand == "echo") return sessiond::bench::RunEcho(absl::GetFlag(FLAGS_listen));
  std::fprintf(
      stderr,
      "sessiond_bench: use `sessiond_bench load` or `sessiond_bench echo`; --help says more\n");
  return 2;
}
