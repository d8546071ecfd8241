#include "server/stop_signals.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/ops/log.h"

namespace sessiond {
namespace {

// The time limit before the daemon serves. A PostgreSQL of our own ends within a second, and if
// not, its supervisor ends it; orchestrators kill after 10 s.
constexpr timespec kPatience = {.tv_sec = 5, .tv_nsec = 0};

// A second signal means that somebody is in a hurry.
constexpr absl::Duration kLastLinesPatience = absl::Milliseconds(200);

sigset_t StopSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

// The libraries' initialization before main() takes a while, in which PID 1 would lose a signal.
// All threads inherit the mask.
[[gnu::constructor(101)]] void HoldBack() {
  const sigset_t set = StopSet();
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

int ExitCodeOf(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

// Forwards signals and reaps orphans until the child ends, and exits as it did.
[[noreturn]] void BeInit(pid_t child, const sigset_t& all) {
  prctl(PR_SET_NAME, "sessiond-init");
  for (;;) {
    siginfo_t info;
    if (sigwaitinfo(&all, &info) < 0) continue;
    int wait_status;
    for (pid_t dead; (dead = waitpid(-1, &wait_status, WNOHANG)) > 0;) {
      // When PID 1 exits, the kernel ends all others.
      if (dead == child) _exit(ExitCodeOf(wait_status));
    }
    // The child gets the kernel's own signals, for a terminal's Ctrl-C, as well.
    if (info.si_signo != SIGCHLD && info.si_code <= 0) kill(child, info.si_signo);
  }
}

}  // namespace

StopSignals& StopSignals::Take() {
  static StopSignals& signals = *new StopSignals;
  std::thread([] { signals.Run(); }).detach();
  return signals;
}

void StopSignals::Run() {
  const sigset_t set = StopSet();
  for (int signal = 0; first_ == 0;) {
    signal = sigwaitinfo(&set, nullptr);
    if (signal > 0 && !(signal == SIGHUP && Reload())) first_ = signal;
  }
  source_.request_stop();
  int second;
  do {
    second = sigtimedwait(&set, nullptr, &kPatience);
  } while ((second < 0 && (errno != EAGAIN || takes_time_)) || (second == SIGHUP && Reload()));
  AwaitLogWritten(kLastLinesPatience);
  if (second > 0) _exit(128 + second);
  _exit(code_ >= 0 ? code_.load() : 128 + first_);
}

bool StopSignals::Reload() {
  const absl::MutexLock lock(&mutex_);
  return reload_ != nullptr && reload_();
}

void StopSignals::Await(std::function<bool()> reload) {
  {
    const absl::MutexLock lock(&mutex_);
    reload_ = std::move(reload);
  }
  absl::Notification asked;
  const std::stop_callback notify(source_.get_token(), [&asked] { asked.Notify(); });
  asked.WaitForNotification();
  const absl::MutexLock lock(&mutex_);
  // What it reloads ends. Whoever asks for that once more is in no hurry.
  const bool reloads = reload_();
  reload_ = [reloads] { return reloads; };
}

UntilSignalled::UntilSignalled() {
  const sigset_t set = StopSet();
  sigprocmask(SIG_UNBLOCK, &set, &before_);
}

UntilSignalled::~UntilSignalled() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

void LeaveInitDuties() {
  if (getpid() != 1) return;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t child = fork();
  if (child > 0) BeInit(child, all);
  sigprocmask(SIG_SETMASK, &before, nullptr);  // Also without a child: then it serves as PID 1.
}

}  // namespace sessiond
