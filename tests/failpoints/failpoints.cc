// The daemon, killed or frozen where a test wants it. What stands in FAILPOINT is what is armed:
//
//   FAILPOINT=group-committed:3:kill     when it is reached for the third time: SIGKILL
//   FAILPOINT=group-committed:3:freeze   SIGSTOP; it goes on from there with SIGCONT
//   FAILPOINT=names                      prints the names of all, and ends
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "db/base/failpoint.h"

namespace sessiond {
namespace {

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
    for (const absl::string_view name : kFailpointNames) names += std::string(name) + "\n";
    EndWith(0, names);
  }
  const std::vector<std::string> words = absl::StrSplit(wanted, ':');
  Armed armed;
  const auto* const name =
      std::find(kFailpointNames.begin(), kFailpointNames.end(), absl::string_view(words[0]));
  if (words.size() != 3 || name == kFailpointNames.end() || !absl::SimpleAtoi(words[1], &armed.at))
    EndWith(2, std::string("FAILPOINT cannot be ") + wanted + "\n");
  armed.point = static_cast<Failpoint>(name - kFailpointNames.begin());
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
