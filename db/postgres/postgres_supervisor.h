// The process between the daemon and its private PostgreSQL. It exists because a process with
// threads must not fork, and because some process must be left to stop PostgreSQL cleanly when the
// daemon is killed.
//
//   daemon ──socket──▶ supervisor ──fork, exec──▶ postgres ──▶ its backends
//
//   daemon dies          the socket ends: the supervisor stops PostgreSQL, then itself
//   supervisor dies      PR_SET_PDEATHSIG: the kernel sends PostgreSQL a SIGINT, its fast shutdown
//   PostgreSQL dies      the supervisor, their subreaper, waits for the orphaned backends and
//                        starts it again
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond::db {

class PostgresSupervisor {
 public:
  // What to run, and as whom. The environment is always the same few variables: the user's locale,
  // time zone and PG* settings do not reach PostgreSQL.
  struct Program {
    // argv[0] is an absolute path.
    std::vector<std::string> argv;
    // Standard output and error are appended here.
    std::string log_path;
    // The user to change to first; empty: no change.
    std::string user;
  };

  struct State {
    // The served program's; 0 while it is not running.
    pid_t pid = 0;
    // How often it was started since Serve; above 1 it has died in between.
    int starts = 0;
  };

  // Forks the supervisor. FAILED_PRECONDITION if this process has more than one thread already.
  static absl::StatusOr<std::unique_ptr<PostgresSupervisor>> Fork();

  // Stops what still runs, and waits for the supervisor's end.
  ~PostgresSupervisor();
  PostgresSupervisor(const PostgresSupervisor&) = delete;
  PostgresSupervisor& operator=(const PostgresSupervisor&) = delete;

  // All of these return UNAVAILABLE if the supervisor is gone, and DEADLINE_EXCEEDED if it does not
  // answer.

  // Runs a program to its end; returns its status as of waitpid. FAILED_PRECONDITION while another
  // one runs. CANCELLED: `stop` was requested before its end; Stop() ends it.
  absl::StatusOr<int> Run(const Program& program, SteadyTime deadline,
                          const std::stop_token& stop = {});
  // Starts a program, and restarts it, with back-off, whenever it ends. FAILED_PRECONDITION while
  // another one runs.
  absl::Status Serve(const Program& program, SteadyTime deadline);
  absl::StatusOr<State> GetState(SteadyTime deadline);
  // Ends the program by SIGINT (the fast shutdown of PostgreSQL), after 30 s by SIGQUIT, after 6 s
  // more by SIGKILL, and returns when the program and all that it started are gone.
  absl::Status Stop(SteadyTime deadline);

 private:
  struct Reply;
  PostgresSupervisor(int socket, pid_t pid) : socket_(socket), pid_(pid) {}
  absl::StatusOr<Reply> Call(char kind, const Program& program, SteadyTime deadline,
                             const std::stop_token& stop = {}) ABSL_LOCKS_EXCLUDED(mutex_);
  friend class SupervisorLoop;

  const int socket_;
  const pid_t pid_;
  absl::Mutex mutex_;
  uint32_t serial_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sessiond::db
