// sessiond_bench: the C++ half of the benchmark. `tests/bench/run` starts its parts and makes sense
// of what they say.
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/synchronization/mutex.h"
#include "tests/bench/echo.h"
#include "tests/bench/load.h"
#include "tests/bench/naive.h"
#include "tests/bench/raw.h"
#include "tests/bench/watch.h"

ABSL_FLAG(std::string, target, "127.0.0.1:7377", "load, watch: where the daemon listens");
ABSL_FLAG(int, channels, 0, "load, watch: how many connections to it; 0 for 2, or 4");
ABSL_FLAG(std::string, listen, "127.0.0.1:0", "echo, naive: where to listen; port 0 draws one");
ABSL_FLAG(std::string, db, "", "naive, raw: the database, as libpq names it");
ABSL_FLAG(int, connections, 32, "naive: how many connections to the database");

namespace {

int ChannelsOr(int usual) {
  const int channels = absl::GetFlag(FLAGS_channels);
  return channels > 0 ? channels : usual;
}

}  // namespace

int main(int argc, char** argv) {
  // Debian's Abseil looks for deadlocks at every lock, and gRPC locks often: a tenth of the
  // generator's time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  absl::SetProgramUsageMessage(
      "sessiond_bench load|watch|echo|naive|raw [flags]\n"
      "  load   calls the daemon as stdin says; load.h has the commands\n"
      "  watch  reads what is told to watches as stdin says; watch.h has the commands\n"
      "  echo   answers the same calls with nothing behind them\n"
      "  naive  answers them as most people would, over a database that sessiond has made\n"
      "  raw    writes the same rows into it in groups, as stdin says; raw.h has the commands\n"
      "Each ends when its stdin does.");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  const std::string subcommand = words.size() == 2 ? words[1] : "";
  const std::string listen = absl::GetFlag(FLAGS_listen);
  const std::string target = absl::GetFlag(FLAGS_target);
  const std::string db = absl::GetFlag(FLAGS_db);
  if (subcommand == "load")
    return sessiond::bench::RunLoad({.target = target, .channels = ChannelsOr(2)});
  if (subcommand == "watch")
    return sessiond::bench::RunWatch({.target = target, .channels = ChannelsOr(4)});
  if (subcommand == "echo") return sessiond::bench::RunEcho(listen);
  if (subcommand == "naive") {
    return sessiond::bench::RunNaive(
        {.db = db, .connections = absl::GetFlag(FLAGS_connections), .listen = listen});
  }
  if (subcommand == "raw") return sessiond::bench::RunRaw(db);
  std::fprintf(stderr, "sessiond_bench: say load, watch, echo, naive or raw; --help says more\n");
  return 2;
}
