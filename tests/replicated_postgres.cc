#include "tests/replicated_postgres.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/postgres/migrate.h"

namespace sessiond {
namespace {

namespace fs = std::filesystem;

// Without them no test means anything.
void Shell(const std::string& command) {
  if (std::system(command.c_str()) == 0) return;
  std::fprintf(stderr, "failed: %s\n", command.c_str());
  std::exit(1);
}

// PostgreSQL refuses to run as root. It is gone when we are.
std::string AsPostgres() {
  return absl::StrCat("setpriv --pdeathsig QUIT ",
                      geteuid() == 0 ? "--reuid=postgres --regid=postgres --clear-groups " : "");
}

std::string BinDir() {
  std::string newest;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none))
    newest = std::max(newest, entry.path().string());
  return newest + "/bin/";
}

// Small and quick; what was acknowledged is on the other server, or in the kernel's memory.
constexpr char kSettings[] = R"(
listen_addresses = ''
fsync = off
max_connections = 60
shared_buffers = 16MB
wal_keep_size = 64MB
wal_retrieve_retry_interval = 100ms
log_timezone = UTC
hot_standby = on
)";

std::string DsnOf(const std::string& dir) {
  return absl::StrCat("host=", dir, " port=5432 user=sessiond dbname=sessiond");
}

// Until it answers.
void AwaitAnswer(const std::string& dsn) {
  for (const SteadyTime deadline = TestDeadline(); SteadyTime::Now() < deadline;) {
    if (db::Connection::Open({.dsn = dsn}, deadline).ok()) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
  std::fprintf(stderr, "no answer at %s\n", dsn.c_str());
  std::exit(1);
}

pid_t Run(const std::string& dir) {
  const std::string command = absl::StrCat("exec ", AsPostgres(), BinDir(), "postgres -D ", dir,
                                           "/data -k ", dir, " >>", dir, "/log 2>&1");
  const pid_t pid = fork();
  if (pid != 0) return pid;
  setpgid(0, 0);  // Ctrl-C is for the tests.
  execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  _exit(1);
}

void End(pid_t pid) {
  kill(pid, SIGQUIT);
  waitpid(pid, nullptr, 0);
}

}  // namespace

ReplicatedPostgres::ReplicatedPostgres() {
  root_ = "/tmp/sessiond-replicated-XXXXXX";
  if (mkdtemp(root_.data()) == nullptr) std::exit(1);
  chmod(root_.c_str(), 0755);
  const std::string first = Dir(kFirst), second = Dir(kSecond);
  for (const std::string& dir : {first, second}) {
    fs::create_directory(dir);
    if (geteuid() == 0) Shell(absl::StrCat("chown postgres ", dir));
  }
  Shell(absl::StrCat(AsPostgres(), BinDir(), "initdb -D ", first,
                     "/data -U sessiond -E UTF8 --locale=C --auth=trust --no-sync "
                     "--wal-segsize=1 >",
                     root_, "/initdb.log"));
  Shell(absl::StrCat("cat >>", first, "/data/postgresql.conf <<'END'\n", kSettings, "END"));
  pids_[kFirst] = Run(first);
  const TestDatabase postgres(absl::StrCat(dsn(kFirst), " dbname=postgres"));
  AwaitAnswer(postgres.dsn());
  if (!postgres.Connect()->Execute("CREATE DATABASE sessiond", TestDeadline()).ok() ||
      !db::Migrate(dsn(kFirst)).ok()) {
    std::exit(1);
  }
  Shell(absl::StrCat(AsPostgres(), BinDir(), "pg_basebackup --no-sync -c fast -R -D ", second,
                     "/data -d 'host=", first,
                     " port=5432 user=sessiond application_name=second'"));
  Start(kSecond);
}

ReplicatedPostgres::~ReplicatedPostgres() {
  for (const pid_t pid : pids_) {
    if (pid != 0) End(pid);
  }
  std::error_code none;
  fs::remove_all(root_, none);
}

std::string ReplicatedPostgres::Dir(Server server) const {
  return absl::StrCat(root_, server == kFirst ? "/first" : "/second");
}

std::string ReplicatedPostgres::dsn(Server server) const { return DsnOf(Dir(server)); }

std::string ReplicatedPostgres::dsn_of(Server one, Server other) const {
  return absl::StrCat("host=", Dir(one), ",", Dir(other),
                      " port=5432,5432 user=sessiond dbname=sessiond "
                      "target_session_attrs=read-write");
}

std::string ReplicatedPostgres::socket(Server server) const {
  return Dir(server) + "/.s.PGSQL.5432";
}

void ReplicatedPostgres::Stop(Server server) {
  End(pids_[server]);
  pids_[server] = 0;
}

void ReplicatedPostgres::Start(Server server) {
  pids_[server] = Run(Dir(server));
  AwaitAnswer(dsn(server));
}

void ReplicatedPostgres::Promote(Server server) {
  EXPECT_EQ(At(server).Ask("SELECT pg_promote(true)::text"), "true");
}

void ReplicatedPostgres::StopFollowing(Server server) {
  const auto connection = At(server).Connect();
  EXPECT_TRUE(connection->Execute("ALTER SYSTEM SET primary_conninfo = ''", TestDeadline()).ok());
  EXPECT_TRUE(connection->Execute("SELECT pg_reload_conf()", TestDeadline()).ok());
  const SteadyTime deadline = TestDeadline();
  while (At(server).Ask("SELECT count(*)::text FROM pg_stat_wal_receiver") != "0")
    ASSERT_LT(SteadyTime::Now(), deadline);
}

void ReplicatedPostgres::AwaitCaughtUp(Server primary, Server standby) const {
  const std::string position = At(primary).Ask("SELECT pg_current_wal_flush_lsn()::text");
  const SteadyTime deadline = TestDeadline();
  while (At(standby).Ask(absl::StrCat("SELECT (pg_last_wal_replay_lsn() >= '", position,
                                      "')::text")) != "true") {
    ASSERT_LT(SteadyTime::Now(), deadline);
    absl::SleepFor(absl::Milliseconds(5));
  }
}

}  // namespace sessiond
