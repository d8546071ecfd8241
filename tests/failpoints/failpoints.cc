// The daemon, killed or frozen where a test wants it. What stands in FAILPOINT is what is armed:
//
//   FAILPOINT=group-committed:3:kill     when it is reached for the third time: SIGKILL
//   FAILPOINT=group-committed:3:freeze   SIGSTOP; it goes on from there with SIGCONT
//   FAILPOINT=names                      prints the names of all, and ends
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "db/base/failpoint.h"

namespace sessiond {
namespace {

struct Named {
  Failpoint point;
  absl::string_view name;
};

constexpr Named kNames[] = {
    {Failpoint::kClusterMade, "cluster-made"},
    {Failpoint::kClusterStarted, "cluster-started"},
    {Failpoint::kMigrationApplied, "migration-applied"},
    {Failpoint::kMigrationCommitted, "migration-committed"},
    {Failpoint::kGroupDecided, "group-decided"},
    {Failpoint::kGroupCommitted, "group-committed"},
    {Failpoint::kGroupPublished, "group-published"},
    {Failpoint::kGroupAnswered, "group-answered"},
    {Failpoint::kChangesRead, "changes-read"},
};
static_assert(std::size(kNames) == static_cast<std::size_t>(Failpoint::kChangesRead) + 1);

struct Armed {
  Failpoint point;
  int at = 0;
  int signal = 0;
};

[[noreturn]] void EndWith(int code, const std::string& text) {
  std::fputs(text.c_str(), code == 0 ? stdout : stderr);
  std::fflush(stdout);
  std::_Exit(code);
}

std::optional<Armed> FromEnvironment() {
  const char* const wanted = std::getenv("FAILPOINT");
  if (wanted == nullptr) return std::nullopt;
  if (wanted == std::string("names")) {
    std::string names;
    for (const Named& each : kNames) names += std::string(each.name) + "\n";
    EndWith(0, names);
  }
  const std::vector<std::string> words = absl::StrSplit(wanted, ':');
  Armed armed;
  const auto* const named = std::find_if(std::begin(kNames), std::end(kNames),
                                         [&](const Named& each) { return each.name == words[0]; });
  if (words.size() != 3 || named == std::end(kNames) || !absl::SimpleAtoi(words[1], &armed.at))
    EndWith(2, std::string("FAILPOINT cannot be ") + wanted + "\n");
  armed.point = named->point;
  armed.signal = words[2] == "kill" ? SIGKILL : words[2] == "freeze" ? SIGSTOP : 0;
  if (armed.signal == 0) EndWith(2, std::string("FAILPOINT cannot be ") + wanted + "\n");
  return armed;
}

const std::optional<Armed> armed = FromEnvironment();
std::atomic<int> reached = 0;

}  // namespace

void Reached(Failpoint point) {
  if (!armed.has_value() || armed->point != point || ++reached != armed->at) return;
  // Sent to this thread, so that it goes no further: sent to the process, another one could take
  // it.
  pthread_kill(pthread_self(), armed->signal);
}

}  // namespace sessiond
