#include "db/postgres/postgres_supervisor.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace sessiond::db {

// A packet to the supervisor is its serial number, one of these letters, and a program as strings
// that end in NUL; every packet is answered by one Reply with the same serial number.
constexpr char kRun = 'R';
constexpr char kServe = 'S';
constexpr char kState = '?';
constexpr char kStop = 'X';

// A request is some 40 short strings; a larger packet is not a request.
constexpr size_t kPacketBytesMax = 64 << 10;

struct PostgresSupervisor::Reply {
  uint32_t serial = 0;
  // False: another program runs.
  bool accepted = true;
  int wait_status = 0;
  State state;
};

namespace {

absl::Status Errno(absl::string_view what) { return absl::ErrnoToStatus(errno, what); }

// Becomes the program; in the child of a fork. Exit codes as in a shell: 126 not allowed, 127 not
// found.
[[noreturn]] void Become(const PostgresSupervisor::Program& program, pid_t supervisor,
                         const std::string& announcement) {
  if (!program.user.empty()) {
    const passwd* user = getpwnam(program.user.c_str());
    if (user == nullptr || initgroups(user->pw_name, user->pw_gid) != 0 ||
        setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0) {
      _exit(126);
    }
  }
  // Not earlier: a change of user clears it. The supervisor may have died before.
  prctl(PR_SET_PDEATHSIG, SIGINT);
  if (getppid() != supervisor) _exit(126);

  const int log = open(program.log_path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (log < 0) _exit(126);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  if (!announcement.empty()) dprintf(STDERR_FILENO, "%s\n", announcement.c_str());

  for (int signal = 1; signal < SIGRTMIN; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);

  std::vector<char*> argv;
  for (const std::string& argument : program.argv)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const char* const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC",
                                     nullptr};
  execve(argv[0], argv.data(), const_cast<char* const*>(environment));
  dprintf(STDERR_FILENO, "sessiond: cannot run %s: %s\n", argv[0], strerror(errno));
  _exit(127);
}

// Our child processes: after the death of the postmaster, its backends.
std::vector<pid_t> Children() {
  std::vector<pid_t> children;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    pid_t pid;
    if (!absl::SimpleAtoi(entry.path().filename().native(), &pid)) continue;
    std::string line;
    std::getline(std::ifstream(absl::StrCat("/proc/", pid, "/stat")), line);
    // pid (name) state parent …, where a name may contain anything.
    const std::vector<std::string> fields = absl::StrSplit(line.substr(line.rfind(')') + 1), ' ');
    pid_t parent;
    if (fields.size() > 2 && absl::SimpleAtoi(fields[2], &parent) && parent == getpid()) {
      children.push_back(pid);
    }
  }
  return children;
}

std::string HowItEnded(int wait_status) {
  return WIFSIGNALED(wait_status) ? absl::StrCat("by signal ", WTERMSIG(wait_status))
                                  : absl::StrCat("with exit code ", WEXITSTATUS(wait_status));
}

}  // namespace

// The supervisor's main loop. One thread, one poll over the daemon's socket and exits of children.
class SupervisorLoop {
 public:
  SupervisorLoop(int socket, int child_ends) : socket_(socket), child_ends_(child_ends) {}

  [[noreturn]] void Run() {
    while (true) {
      pollfd fds[] = {{.fd = daemon_gone_ ? -1 : socket_, .events = POLLIN, .revents = 0},
                      {.fd = child_ends_, .events = POLLIN, .revents = 0}};
      poll(fds, 2, MillisecondsUntil(std::min(start_at_, escalate_at_)));
      if (fds[0].revents != 0) OnDaemon();
      if (fds[1].revents != 0) OnChildEnds();
      if (SteadyTime::Now() >= start_at_) Start();
      if (SteadyTime::Now() >= escalate_at_) Escalate();
    }
  }

 private:
  using Program = PostgresSupervisor::Program;
  using Reply = PostgresSupervisor::Reply;
  enum class Wish { kNothing, kRunOnce, kKeepRunning, kEnd };

  static constexpr absl::Duration kBackoffMin = absl::Milliseconds(100);
  static constexpr absl::Duration kBackoffMax = absl::Seconds(5);
  // A program that ran this long did not fail at its start: the next start need not wait.
  static constexpr absl::Duration kStable = absl::Seconds(10);
  static constexpr absl::Duration kFastShutdown = absl::Seconds(30);
  // The postmaster itself kills backends 5 s after an immediate shutdown began.
  static constexpr absl::Duration kImmediateShutdown = absl::Seconds(6);
  // Backends notice the death of the postmaster between two statements.
  static constexpr absl::Duration kOrphansGrace = absl::Seconds(2);

  void OnDaemon() {
    std::string packet(kPacketBytesMax, '\0');
    const ssize_t size = recv(socket_, packet.data(), packet.size(), 0);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (size < static_cast<ssize_t>(sizeof(uint32_t) + 1)) {
      daemon_gone_ = true;
      End();
      return;
    }
    uint32_t serial;
    std::memcpy(&serial, packet.data(), sizeof serial);
    const char kind = packet[sizeof serial];
    packet.resize(size);
    Answer(serial, kind, packet.substr(sizeof serial + 1));
  }

  void Answer(uint32_t serial, char kind, const std::string& program) {
    if (kind == kState) return Send(serial);
    if (kind == kStop) {
      awaited_serial_ = serial;
      return End();
    }
    std::vector<std::string> strings = absl::StrSplit(program, '\0');
    // What names no program is no request of ours.
    if (wish_ != Wish::kNothing || strings.size() < 3) return Send(serial, /*accepted=*/false);
    program_.user = strings[0];
    program_.log_path = strings[1];
    program_.argv.assign(strings.begin() + 2, strings.end());
    wish_ = kind == kRun ? Wish::kRunOnce : Wish::kKeepRunning;
    starts_ = 0;
    backoff_ = absl::ZeroDuration();
    announcement_.clear();
    Start();
    if (kind == kRun) {
      awaited_serial_ = serial;
    } else {
      Send(serial);
    }
  }

  void Start() {
    start_at_ = SteadyTime::InfiniteFuture();
    started_at_ = SteadyTime::Now();
    ++starts_;
    const pid_t supervisor = getpid();
    child_ = fork();
    if (child_ == 0) Become(program_, supervisor, announcement_);
    if (child_ < 0) {  // fork failed; reported as by a shell.
      child_ = 0;
      wait_status_ = 126 << 8;
      OnAllGone();
    }
  }

  void End() {
    wish_ = Wish::kEnd;
    start_at_ = SteadyTime::InfiniteFuture();
    if (child_ != 0) {
      kill(child_, SIGINT);
      escalate_at_ = SteadyTime::Now() + kFastShutdown;
      next_signal_ = SIGQUIT;
    }
    Reap();
  }

  void OnChildEnds() {
    signalfd_siginfo info;
    while (read(child_ends_, &info, sizeof info) > 0) {
    }
    Reap();
  }

  void Reap() {
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
      if (pid != child_) continue;
      child_ = 0;
      wait_status_ = wait_status;
      escalate_at_ = SteadyTime::Now() + kOrphansGrace;
      next_signal_ = SIGKILL;
    }
    if (pid < 0 && errno == ECHILD) OnAllGone();
  }

  // The program is gone completely: no process, no shared memory in use.
  void OnAllGone() {
    escalate_at_ = SteadyTime::InfiniteFuture();
    if (wish_ == Wish::kKeepRunning) {
      if (start_at_ != SteadyTime::InfiniteFuture()) return;
      if (SteadyTime::Now() - started_at_ >= kStable) backoff_ = absl::ZeroDuration();
      announcement_ = absl::StrCat("sessiond: the program ended ", HowItEnded(wait_status_),
                                   " and is started again after ", absl::FormatDuration(backoff_));
      start_at_ = SteadyTime::Now() + backoff_;
      backoff_ = std::clamp(2 * backoff_, kBackoffMin, kBackoffMax);
      return;
    }
    if (daemon_gone_) _exit(0);
    if (wish_ == Wish::kNothing) return;
    wish_ = Wish::kNothing;
    Send(awaited_serial_);
  }

  void Escalate() {
    escalate_at_ = SteadyTime::Now() + kImmediateShutdown;
    if (next_signal_ == SIGKILL) {
      for (pid_t child : Children()) kill(child, SIGKILL);
    } else if (child_ != 0) {
      kill(child_, next_signal_);
    }
    next_signal_ = SIGKILL;
  }

  void Send(uint32_t serial, bool accepted = true) {
    const Reply reply = {.serial = serial,
                         .accepted = accepted,
                         .wait_status = wait_status_,
                         .state = {.pid = child_, .starts = starts_}};
    send(socket_, &reply, sizeof reply, MSG_NOSIGNAL);
  }

  const int socket_;
  const int child_ends_;
  bool daemon_gone_ = false;

  Wish wish_ = Wish::kNothing;
  Program program_;
  // The request to answer when everything is gone.
  uint32_t awaited_serial_ = 0;

  pid_t child_ = 0;
  int starts_ = 0;
  int wait_status_ = 0;
  SteadyTime started_at_;
  absl::Duration backoff_;
  std::string announcement_;
  SteadyTime start_at_ = SteadyTime::InfiniteFuture();

  SteadyTime escalate_at_ = SteadyTime::InfiniteFuture();
  int next_signal_ = SIGKILL;
};

namespace {

[[noreturn]] void Supervise(int socket) {
  // Away from the terminal: its Ctrl-C is for the daemon, which still needs PostgreSQL while it
  // drains.
  setsid();
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2}) {
    ::signal(signal, SIG_IGN);
  }
  // If it is ignored, as inherited from a parent, no child can be waited for.
  ::signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_NAME, "sessiond-pg");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  umask(0077);
  if (chdir("/") != 0) _exit(1);

  // No file of the daemon stays open: its pipes must close and its locks be released when it ends.
  dup2(socket, 3);
  close_range(4, ~0U, 0);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);

  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  sigprocmask(SIG_SETMASK, &child_ended, nullptr);
  SupervisorLoop(3, signalfd(-1, &child_ended, SFD_CLOEXEC | SFD_NONBLOCK)).Run();
}

int CountThreads() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return static_cast<int>(std::distance(begin(threads), end(threads)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresSupervisor>> PostgresSupervisor::Fork() {
  if (const int threads = CountThreads(); threads != 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "PostgreSQL's supervisor must be forked before threads exist, but there are ", threads));
  }
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Errno("cannot make a socket for PostgreSQL's supervisor");
  }
  const pid_t pid = fork();
  if (pid == 0) {
    close(sockets[0]);
    Supervise(sockets[1]);
  }
  close(sockets[1]);
  if (pid < 0) {
    close(sockets[0]);
    return Errno("cannot fork PostgreSQL's supervisor");
  }
  return absl::WrapUnique(new PostgresSupervisor(sockets[0], pid));
}

PostgresSupervisor::~PostgresSupervisor() {
  close(socket_);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<PostgresSupervisor::Reply> PostgresSupervisor::Call(char kind,
                                                                   const Program& program,
                                                                   SteadyTime deadline,
                                                                   const std::stop_token& stop) {
  const int stopping = eventfd(0, EFD_CLOEXEC);
  const absl::Cleanup close_stopping = [stopping] { close(stopping); };
  const std::stop_callback tell(stop, [stopping] { eventfd_write(stopping, 1); });
  absl::MutexLock lock(&mutex_);
  const uint32_t serial = ++serial_;
  std::string packet(reinterpret_cast<const char*>(&serial), sizeof serial);
  packet.push_back(kind);
  std::vector<std::string> strings = {program.user, program.log_path};
  strings.insert(strings.end(), program.argv.begin(), program.argv.end());
  packet.append(absl::StrJoin(strings, absl::string_view("\0", 1)));

  const absl::Status gone = absl::UnavailableError("PostgreSQL's supervisor process is gone");
  if (send(socket_, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) return gone;
  while (true) {
    pollfd fds[] = {{.fd = socket_, .events = POLLIN, .revents = 0},
                    {.fd = stopping, .events = POLLIN, .revents = 0}};
    const int ready = poll(fds, 2, MillisecondsUntil(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0)
      return absl::DeadlineExceededError("PostgreSQL's supervisor did not answer in time");
    if (fds[0].revents == 0) return absl::CancelledError("asked to stop");
    Reply reply;
    if (recv(socket_, &reply, sizeof reply, 0) != sizeof reply) return gone;
    // An answer that an earlier call did not wait for is skipped.
    if (reply.serial != serial) continue;
    if (!reply.accepted) return absl::FailedPreconditionError("PostgreSQL's supervisor is busy");
    return reply;
  }
}

absl::StatusOr<int> PostgresSupervisor::Run(const Program& program, SteadyTime deadline,
                                            const std::stop_token& stop) {
  absl::StatusOr<Reply> reply = Call(kRun, program, deadline, stop);
  if (!reply.ok()) return reply.status();
  return reply->wait_status;
}

absl::Status PostgresSupervisor::Serve(const Program& program, SteadyTime deadline) {
  return Call(kServe, program, deadline).status();
}

absl::StatusOr<PostgresSupervisor::State> PostgresSupervisor::GetState(SteadyTime deadline) {
  absl::StatusOr<Reply> reply = Call(kState, {}, deadline);
  if (!reply.ok()) return reply.status();
  return reply->state;
}

absl::Status PostgresSupervisor::Stop(SteadyTime deadline) {
  return Call(kStop, {}, deadline).status();
}

}  // namespace sessiond::db
