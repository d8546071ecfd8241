// A private PostgreSQL, so that `sessiond serve` needs no database to be set up: its cluster lies
// under a directory of ours, it is reached by unix socket only, and runs only while the daemon
// does.
//
//   <data_dir>/
//     lock     flock of the daemon that owns the directory, and its pid
//     log      output of initdb and PostgreSQL; log.1 is the one before
//     data/    the cluster; made atomically: data.new-…/ until initdb has finished
//   <socket dir>/.s.PGSQL.5432
//
// A data directory is never deleted, whatever goes wrong, unless it is ephemeral. Every obstacle is
// reported in one sentence that says how to remove it, and before anything is made.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/postgres/postgres_supervisor.h"

namespace sessiond::db {

struct EmbeddedPostgresOptions {
  // Made if missing, parents too. Ignored if `ephemeral`.
  std::string data_dir;
  // A temporary data directory, not durable, and removed at a clean stop: in $TMPDIR if
  // PostgreSQL's user may enter that, else in /tmp.
  bool ephemeral = false;
  // False switches fsync, synchronous_commit and full_page_writes off. For tests.
  bool durable = true;
  // Where `postgres` and `initdb` are; empty: search for them.
  std::string bin_dir;
  // Where the socket goes; empty: $XDG_RUNTIME_DIR, else /tmp, in a directory of our own.
  std::string socket_dir;
  // 64: the lanes, readers and the watch of one daemon take about 20, unless it is told to have
  // more; a person's psql and a second daemon fit in, too.
  int max_connections = 64;
  // More of PostgreSQL's settings, by name; they override ours.
  std::vector<std::pair<std::string, std::string>> settings;
  // How long a start may take, but for recovery after a crash, which takes as long as there is log
  // to read, and is told of every ten seconds.
  absl::Duration start_timeout = absl::Minutes(2);
  std::function<void()> on_recovery = {};
  // When stop is requested, a start is given up, and nothing of it runs on.
  std::stop_token stop = {};
};

// The pid of the sessiond that uses this data directory now; empty: none.
std::string DataDirUser(const std::string& data_dir);

class EmbeddedPostgres {
 public:
  // Starts PostgreSQL and returns when it answers queries and its database `sessiond` exists; makes
  // the cluster first if there is none. PostgreSQL refuses to run as root, so a daemon run by root
  // starts it as the user `postgres`.
  //
  // FAILED_PRECONDITION: there is an obstacle, and the message says what to do about it.
  // UNAVAILABLE: PostgreSQL did not start; the message has the end of its log. CANCELLED: stop was
  // requested.
  //
  // REQUIRES: `supervisor` is used for nothing else, and outlives the result.
  static absl::StatusOr<std::unique_ptr<EmbeddedPostgres>> Start(EmbeddedPostgresOptions options,
                                                                 PostgresSupervisor& supervisor);
  // What of the data directory, of what is in it, and of the socket's would be in the way of such a
  // start. Makes nothing. REQUIRES: not ephemeral.
  static absl::Status Check(EmbeddedPostgresOptions options, PostgresSupervisor& supervisor);
  // Stops.
  ~EmbeddedPostgres();
  EmbeddedPostgres(const EmbeddedPostgres&) = delete;
  EmbeddedPostgres& operator=(const EmbeddedPostgres&) = delete;

  // Disconnects all clients, stops PostgreSQL cleanly and waits for it, up to 40 s. Idempotent.
  absl::Status Stop();

  // The libpq connection string of one of its databases.
  std::string dsn(absl::string_view database = "sessiond") const;
  // The command to open it in psql.
  std::string psql_command() const;
  const std::string& data_dir() const { return options_.data_dir; }
  // For example `15.20`.
  const std::string& version() const { return version_; }
  // The pid of PostgreSQL, 0 while it does not run, and how often it was started.
  absl::StatusOr<PostgresSupervisor::State> state() const;

 private:
  // The user that PostgreSQL runs as. `drop` is the name to change to; empty: no change.
  struct User {
    uid_t uid = 0;
    gid_t gid = 0;
    std::string name;
    std::string drop;
  };

  EmbeddedPostgres(EmbeddedPostgresOptions options, PostgresSupervisor& supervisor);

  // The steps of a start, in order.
  absl::Status FindUser();
  absl::Status FindPlaces();
  absl::Status FindPrograms();
  absl::Status CheckWay();
  absl::Status MakeDataDir();
  absl::Status TakeLock();
  absl::Status CheckSocketDir() const;
  absl::Status MakeSocketDir();
  absl::Status OpenLog();
  absl::Status AwaitPredecessor();
  absl::Status InitCluster();
  absl::Status Launch();
  absl::Status MakeDatabase();

  // The first directory on the way to this one that PostgreSQL's user may not enter; nothing: there
  // is none.
  std::optional<std::string> Barrier(const std::string& path) const;
  std::string Path(absl::string_view name) const;
  absl::Status Own(const std::string& path) const;
  absl::Status Failed(absl::string_view what) const;

  EmbeddedPostgresOptions options_;
  PostgresSupervisor& supervisor_;
  SteadyTime deadline_;

  User user_;
  std::string version_;
  // `sessiond-<hash of the data directory>`: PostgreSQL's cluster_name, shown by ps.
  std::string cluster_name_;
  std::string socket_dir_;
  // Whether that was found to be ours.
  bool has_socket_dir_ = false;
  int lock_ = -1;
  // The log's size when we began.
  off_t log_begin_ = 0;
  // Whether PostgreSQL did not end cleanly the last time.
  bool crashed_ = false;
  // Whether a program of ours may run.
  bool launched_ = false;
};

}  // namespace sessiond::db
