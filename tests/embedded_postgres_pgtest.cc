// The private PostgreSQL, started, stopped, killed and stood in the way of.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "db/connection/connection.h"
#include "db/postgres/embedded_postgres.h"
#include "server/database.h"
#include "tests/postgres_fixture.h"

namespace sessiond::db {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// A directory that PostgreSQL may enter whoever we are.
class TempDir {
 public:
  TempDir() : path_("/tmp/sessiond-test-XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
    chmod(path_.c_str(), 0755);
  }
  ~TempDir() { fs::remove_all(path_); }
  std::string operator/(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

 private:
  std::string path_;
};

absl::StatusOr<std::unique_ptr<EmbeddedPostgres>> Start(const std::string& data_dir) {
  return EmbeddedPostgres::Start({.data_dir = data_dir, .durable = false}, SpareSupervisor());
}

std::string Refusal(EmbeddedPostgresOptions options) {
  auto postgres = EmbeddedPostgres::Start(std::move(options), SpareSupervisor());
  EXPECT_EQ(postgres.status().code(), absl::StatusCode::kFailedPrecondition) << postgres.status();
  return std::string(postgres.status().message());
}

// What can be said before anything is made.
std::string EarlyRefusal(EmbeddedPostgresOptions options) {
  const absl::Status beforehand = EmbeddedPostgres::Check(options, SpareSupervisor());
  std::string refusal = Refusal(std::move(options));
  EXPECT_EQ(beforehand, absl::FailedPreconditionError(refusal));
  return refusal;
}

std::unique_ptr<Connection> Connect(const std::string& dsn) {
  auto connection = Connection::Open({.dsn = dsn}, TestDeadline());
  EXPECT_TRUE(connection.ok()) << connection.status();
  return connection.ok() ? *std::move(connection) : nullptr;
}

void Execute(const EmbeddedPostgres& postgres, const std::string& sql) {
  auto connection = Connect(postgres.dsn());
  ASSERT_NE(connection, nullptr);
  EXPECT_TRUE(connection->Execute(sql, TestDeadline()).ok());
}

std::string Ask(const EmbeddedPostgres& postgres, const std::string& sql) {
  auto connection = Connect(postgres.dsn());
  if (connection == nullptr) return "";
  connection->QueueSql(sql);
  auto results = connection->RoundTrip(TestDeadline());
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? std::string(results->front().Text(0, 0)) : "";
}

// A process that may end while we look: its end can be awaited, though it is not our child.
class Process {
 public:
  explicit Process(pid_t pid) : pid_(pid), fd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}
  ~Process() {
    if (fd_ >= 0) close(fd_);
  }
  Process(const Process&) = delete;

  void Kill() const { EXPECT_EQ(kill(pid_, SIGKILL), 0); }
  bool AwaitEnd() const {
    if (fd_ < 0) return true;
    pollfd ended = {.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&ended, 1, 30'000) == 1;
  }
  pid_t parent() const {
    std::string line;
    std::getline(std::ifstream(absl::StrCat("/proc/", pid_, "/stat")), line);
    const std::vector<std::string> fields = absl::StrSplit(line.substr(line.rfind(')') + 2), ' ');
    return std::stoi(fields[1]);
  }

 private:
  const pid_t pid_;
  const int fd_;
};

// Another process that owns a PostgreSQL, as a daemon would.
class Owner {
 public:
  explicit Owner(const std::string& data_dir) {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(fds[1], STDOUT_FILENO);
      execl("/proc/self/exe", "sessiond_pgtest", kOwnPostgres, data_dir.c_str(), nullptr);
      _exit(127);
    }
    close(fds[1]);
    FILE* output = fdopen(fds[0], "r");
    EXPECT_EQ(fscanf(output, "%d", &postgres_), 1) << "it did not start";
    fclose(output);
  }
  // Not before PostgreSQL is gone, so that its directory can go, too.
  ~Owner() {
    const Process postgres(postgres_);
    Kill();
    EXPECT_TRUE(postgres.AwaitEnd());
  }

  void Kill() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  pid_t postgres() const { return postgres_; }

 private:
  pid_t pid_ = 0;
  pid_t postgres_ = 0;
};

void Write(const std::string& path, absl::string_view text) { std::ofstream(path) << text; }

// Whom PostgreSQL runs as.
uid_t PostgresUid() { return geteuid() == 0 ? getpwnam("postgres")->pw_uid : geteuid(); }

void MakeDataDir(const std::string& data_dir, absl::string_view pg_version) {
  fs::create_directories(data_dir + "/data");
  if (!pg_version.empty()) Write(data_dir + "/data/PG_VERSION", pg_version);
  EXPECT_EQ(chown((data_dir + "/data").c_str(), PostgresUid(), -1), 0);
}

// A process of PostgreSQL's user that is none of PostgreSQL's.
pid_t Stranger(bool zombie) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (setuid(PostgresUid()) != 0 || zombie) _exit(0);
    while (true) pause();
  }
  siginfo_t info;
  if (zombie) waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
  return pid;
}

TEST(EmbeddedPostgres, KeepsItsDataFromStartToStart) {
  const TempDir dir;
  {
    auto postgres = Start(dir / "pg");
    ASSERT_TRUE(postgres.ok()) << postgres.status();
    Execute(**postgres, "CREATE TABLE kept AS SELECT 'yes' AS kept");
    EXPECT_TRUE((*postgres)->Stop().ok());
    EXPECT_TRUE((*postgres)->Stop().ok()) << "stopping twice";
  }
  auto postgres = Start(dir / "pg");
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  EXPECT_EQ(Ask(**postgres, "SELECT kept FROM kept"), "yes");
  for (const auto& entry : fs::directory_iterator(dir / "pg"))
    EXPECT_FALSE(absl::StartsWith(entry.path().filename().native(), "data.new")) << entry.path();
}

TEST(EmbeddedPostgres, IsPrivateAndKnowsNoLocale) {
  EXPECT_EQ(Ask(TestCluster(), "SHOW listen_addresses"), "");
  EXPECT_EQ(Ask(TestCluster(), "SHOW server_encoding"), "UTF8");
  EXPECT_EQ(Ask(TestCluster(), "SHOW TimeZone"), "UTC");
  EXPECT_EQ(
      Ask(TestCluster(), "SELECT datcollate::text FROM pg_database WHERE datname = 'sessiond'"),
      "C");
  const std::string socket_dir = Ask(TestCluster(), "SHOW unix_socket_directories");
  struct stat info;
  ASSERT_EQ(stat(socket_dir.substr(1, socket_dir.size() - 2).c_str(), &info), 0) << socket_dir;
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST(EmbeddedPostgres, FetchesPagesAhead) {
  EXPECT_EQ(Ask(TestCluster(), "SHOW effective_io_concurrency"), "32");
}

TEST(EmbeddedPostgres, IsDurableUnlessToldOtherwise) {
  const TempDir dir;
  auto postgres = EmbeddedPostgres::Start({.data_dir = dir / "pg"}, SpareSupervisor());
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  for (const char* setting : {"fsync", "full_page_writes", "synchronous_commit"}) {
    EXPECT_EQ(Ask(**postgres, absl::StrCat("SHOW ", setting)), "on") << setting;
  }
}

TEST(EmbeddedPostgres, EndsWithItsOwnerAndTheNextStartFindsEverything) {
  const TempDir dir;
  Owner owner(dir / "pg");
  Process postgres(owner.postgres());
  Process supervisor(postgres.parent());
  owner.Kill();
  // At once, while the old one is still on its way out.
  auto next = Start(dir / "pg");
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(postgres.AwaitEnd());
  EXPECT_TRUE(supervisor.AwaitEnd());
}

TEST(EmbeddedPostgres, EndsCleanlyEvenIfItsOwnerAndItsSupervisorAreKilled) {
  const TempDir dir;
  Owner owner(dir / "pg");
  Process postgres(owner.postgres());
  Process supervisor(postgres.parent());
  kill(owner.pid(), SIGSTOP);  // So that the supervisor is the first to go.
  supervisor.Kill();
  owner.Kill();
  EXPECT_TRUE(postgres.AwaitEnd());
  EXPECT_FALSE(fs::exists(dir / "pg/data/postmaster.pid")) << "it did not end by a shutdown";
}

TEST(EmbeddedPostgres, IsStartedAgainWhenItIsKilledThoughABackendIsTooBusyToNotice) {
  const TempDir dir;
  auto postgres = EmbeddedPostgres::Start({.data_dir = dir / "pg"}, SpareSupervisor());
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  Execute(**postgres, "CREATE TABLE kept AS SELECT 'yes' AS kept");

  auto busy = Connect((*postgres)->dsn());
  busy->QueueSql("SELECT pg_backend_pid()");
  auto backend = busy->RoundTrip(TestDeadline());
  ASSERT_TRUE(backend.ok());
  Process orphan(backend->front().Int4(0, 0));
  busy->QueueSql("SELECT count(*) FROM generate_series(1, 1000000000000)");
  ASSERT_TRUE(busy->Send().ok());

  auto before = (*postgres)->state();
  ASSERT_TRUE(before.ok());
  Process(before->pid).Kill();
  EXPECT_TRUE(orphan.AwaitEnd());

  // PostgreSQL tells nobody when it is back, so we ask.
  const SteadyTime deadline = TestDeadline();
  auto connection = Connection::Open({.dsn = (*postgres)->dsn()}, deadline);
  while (!connection.ok() && SteadyTime::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(10));
    connection = Connection::Open({.dsn = (*postgres)->dsn()}, deadline);
  }
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ(Ask(**postgres, "SELECT kept FROM kept"), "yes");
  auto after = (*postgres)->state();
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->starts, 2);
  EXPECT_NE(after->pid, before->pid);
}

TEST(EmbeddedPostgres, RefusesASecondOwnerAndNamesTheFirst) {
  const TempDir dir;
  Owner owner(dir / "pg");
  EXPECT_THAT(Refusal({.data_dir = dir / "pg"}),
              AllOf(HasSubstr(absl::StrCat("pid ", owner.pid())), HasSubstr("--data-dir")));
}

TEST(EmbeddedPostgres, RefusesDataOfAnotherMajorVersionAndKeepsIt) {
  const TempDir dir;
  MakeDataDir(dir / "pg", "9\n");
  EXPECT_THAT(EarlyRefusal({.data_dir = dir / "pg"}),
              AllOf(HasSubstr("was made by PostgreSQL 9, found was"),
                    HasSubstr("apt-get install postgresql-9")));
  EXPECT_TRUE(fs::exists(dir / "pg/data/PG_VERSION"));
}

TEST(EmbeddedPostgres, RefusesADirectoryThatIsNoDataDirectoryAndKeepsIt) {
  const TempDir dir;
  MakeDataDir(dir / "pg", "");
  EXPECT_THAT(EarlyRefusal({.data_dir = dir / "pg"}),
              HasSubstr("is no data directory of PostgreSQL"));
  EXPECT_TRUE(fs::exists(dir / "pg/data"));
}

TEST(EmbeddedPostgres, RefusesASocketPathThatIsTooLongBeforeItMakesAnything) {
  const TempDir dir;
  EXPECT_THAT(EarlyRefusal({.data_dir = dir / "pg", .socket_dir = dir / std::string(100, 's')}),
              HasSubstr("may have 107"));
  EXPECT_FALSE(fs::exists(dir / "pg"));
}

TEST(EmbeddedPostgres, RefusesToDoWithoutPrograms) {
  const TempDir dir;
  EXPECT_THAT(Refusal({.data_dir = dir / "pg", .bin_dir = dir / "bin"}),
              AllOf(HasSubstr("apt-get install postgresql-15"), HasSubstr("--db-url")));
  EXPECT_FALSE(fs::exists(dir / "pg"));
}

TEST(EmbeddedPostgres, RefusesADirectoryItsUserCannotEnter) {
  if (geteuid() != 0) GTEST_SKIP() << "only root runs it as another user";
  const TempDir dir;
  fs::create_directories(dir / "closed");
  chmod((dir / "closed").c_str(), 0700);
  EXPECT_THAT(EarlyRefusal({.data_dir = dir / "closed/pg"}),
              AllOf(HasSubstr((dir / "closed") + " cannot be entered by user `postgres`"),
                    HasSubstr("--data-dir")));
  EXPECT_FALSE(fs::exists(dir / "closed/pg"));
}

TEST(EmbeddedPostgres, RefusesASocketDirectoryThatIsOpenToOthers) {
  const TempDir dir;
  fs::create_directories(dir / "socket");
  chmod((dir / "socket").c_str(), 0777);
  EXPECT_EQ(chown((dir / "socket").c_str(), PostgresUid(), -1), 0);
  EXPECT_THAT(EarlyRefusal({.data_dir = dir / "pg", .socket_dir = dir / "socket"}),
              HasSubstr("is not a private directory"));
  EXPECT_TRUE(fs::exists(dir / "socket")) << "It is not ours to remove.";
}

TEST(EmbeddedPostgres, SaysWhenInitdbDoesNotEnd) {
  const TempDir dir;
  const auto postgres = EmbeddedPostgres::Start(
      {.data_dir = dir / "pg", .start_timeout = absl::Milliseconds(1)}, SpareSupervisor());
  EXPECT_THAT(std::string(postgres.status().message()), HasSubstr("initdb did not end within 1ms"));
  EXPECT_TRUE(Start(dir / "pg").ok()) << "The next one.";
}

TEST(EmbeddedOptions, LeaveRoomForAllThatTheDaemonOpens) {
  Config config;
  EXPECT_EQ(EmbeddedOptions(config, false, {}).max_connections, 64);
  config.lanes = 32;
  EXPECT_GE(EmbeddedOptions(config, false, {}).max_connections, ConnectionsNeeded(config) + 20);
  config.query_connections = 64;
  EXPECT_GE(EmbeddedOptions(config, false, {}).max_connections, ConnectionsNeeded(config) + 20);
}

TEST(PostgresSupervisor, RunsNothingThatHasNoName) {
  EXPECT_FALSE(SpareSupervisor().Run({.argv = {}, .log_path = "/dev/null"}, TestDeadline()).ok());
}

TEST(EmbeddedPostgres, SaysWhatTheLogSaysIfItDoesNotStart) {
  const TempDir dir;
  auto postgres = EmbeddedPostgres::Start(
      {.data_dir = dir / "pg", .durable = false, .settings = {{"shared_buffers", "plenty"}}},
      SpareSupervisor());
  EXPECT_EQ(postgres.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(postgres.status().message()),
              HasSubstr("invalid value for parameter \"shared_buffers\""));
  auto next = Start(dir / "pg");
  EXPECT_TRUE(next.ok()) << next.status();
}

TEST(EmbeddedPostgres, BeginsAnInterruptedInitdbAnew) {
  const TempDir dir;
  fs::create_directories(dir / "pg/data.new/base");
  auto postgres = Start(dir / "pg");
  ASSERT_TRUE(postgres.ok()) << postgres.status();
}

// One that was killed with its daemon, a moment ago, still makes its files, or removes them.
TEST(EmbeddedPostgres, MindsNoInitdbThatStillRuns) {
  const TempDir dir;
  std::atomic<bool> started = false;
  std::thread orphan([&] {
    std::error_code ignored;
    while (!started) fs::create_directories(dir / "pg/data.new/base", ignored);
  });
  const auto postgres = Start(dir / "pg");
  started = true;
  orphan.join();
  EXPECT_TRUE(postgres.ok()) << postgres.status();
}

TEST(EmbeddedPostgres, StartsThoughAStrangerOrAZombieHasTheOldPid) {
  const TempDir dir;
  ASSERT_TRUE(Start(dir / "pg").ok());
  for (const bool zombie : {false, true}) {
    const pid_t pid = Stranger(zombie);
    const std::string pid_file = dir / "pg/data/postmaster.pid";
    Write(pid_file, absl::StrCat(pid, "\n", dir / "pg/data", "\n1\n5432\n/tmp\n\n 1 1\nready\n"));
    EXPECT_EQ(chown(pid_file.c_str(), PostgresUid(), -1), 0);
    auto postgres = Start(dir / "pg");
    EXPECT_TRUE(postgres.ok()) << postgres.status();
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
}

TEST(EmbeddedPostgres, TakesNoOtherPostgresOfTheMachineForItsPredecessor) {
  const TempDir dir, other;
  ASSERT_TRUE(Start(dir / "pg").ok());
  const Owner stranger(other / "pg");
  const std::string pid_file = dir / "pg/data/postmaster.pid";
  Write(pid_file, absl::StrCat(stranger.postgres(), "\n", dir / "pg/data",
                               "\n1\n5432\n/tmp\n\n 1 1\nready\n"));
  EXPECT_EQ(chown(pid_file.c_str(), PostgresUid(), -1), 0);
  // Its socket's directory outlives a kill, too.
  EXPECT_EQ(mkdir((dir / "socket").c_str(), 0700), 0);
  Write(dir / "socket/.s.PGSQL.5432", "");
  Write(dir / "socket/.s.PGSQL.5432.lock",
        absl::StrCat(stranger.postgres(), "\n", dir / "pg/data", "\n1\n5432\n", dir / "socket\n"));
  for (const char* its : {"socket", "socket/.s.PGSQL.5432", "socket/.s.PGSQL.5432.lock"})
    EXPECT_EQ(chown((dir / its).c_str(), PostgresUid(), -1), 0);
  auto postgres = EmbeddedPostgres::Start(
      {.data_dir = dir / "pg", .durable = false, .socket_dir = dir / "socket"}, SpareSupervisor());
  EXPECT_TRUE(postgres.ok()) << postgres.status();
  EXPECT_EQ(kill(stranger.postgres(), 0), 0);
}

// As in two containers that share /tmp.
TEST(EmbeddedPostgres, LeavesASocketThatSomebodyListensTo) {
  const TempDir dir;
  EXPECT_EQ(mkdir((dir / "socket").c_str(), 0700), 0);
  EXPECT_EQ(chown((dir / "socket").c_str(), PostgresUid(), -1), 0);
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  (dir / "socket/.s.PGSQL.5432").copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  EXPECT_THAT(Refusal({.data_dir = dir / "pg", .socket_dir = dir / "socket"}),
              HasSubstr(std::string("answers at ") + address.sun_path));
  EXPECT_TRUE(fs::exists(address.sun_path));
  close(listener);
}

TEST(EmbeddedPostgres, RefusesToStartBesideAPredecessorThatDoesNotEnd) {
  const TempDir dir;
  Owner owner(dir / "pg");
  kill(owner.postgres(), SIGSTOP);
  owner.Kill();
  EXPECT_THAT(Refusal({.data_dir = dir / "pg", .start_timeout = absl::Seconds(1)}),
              HasSubstr(absl::StrCat("(pid ", owner.postgres(), ") still runs")));
  EXPECT_TRUE(fs::exists(dir / "pg/data/postmaster.pid"));
  kill(owner.postgres(), SIGCONT);
}

// One that is broken off begins anew at the next start, and takes as long.
TEST(EmbeddedPostgres, WaitsForARecoveryHoweverLongItTakes) {
  const TempDir dir;
  {
    Owner owner(dir / "pg");
    const Process postmaster(owner.postgres());
    const Process supervisor(postmaster.parent());
    kill(owner.postgres(), SIGSTOP);
    owner.Kill();
    supervisor.Kill();
    postmaster.Kill();
    EXPECT_TRUE(postmaster.AwaitEnd());
  }
  const std::string signal = dir / "pg/data/recovery.signal";
  Write(signal, "");
  EXPECT_EQ(chown(signal.c_str(), PostgresUid(), -1), 0);
  // Of what it is asked for, the archive says after 12 s that it has none.
  int told = 0;
  auto postgres = EmbeddedPostgres::Start({.data_dir = dir / "pg",
                                           .durable = false,
                                           .settings = {{"restore_command", "sleep 12; false"}},
                                           .start_timeout = absl::Seconds(10),
                                           .on_recovery = [&told] { ++told; }},
                                          SpareSupervisor());
  EXPECT_TRUE(postgres.ok()) << postgres.status();
  EXPECT_GT(told, 0);
}

TEST(EmbeddedPostgres, RemovesWhatIsEphemeral) {
  std::string data_dir;
  {
    auto postgres = EmbeddedPostgres::Start({.ephemeral = true}, SpareSupervisor());
    ASSERT_TRUE(postgres.ok()) << postgres.status();
    data_dir = (*postgres)->data_dir();
    EXPECT_EQ(Ask(**postgres, "SHOW fsync"), "off");
  }
  EXPECT_FALSE(fs::exists(data_dir));
}

TEST(EmbeddedPostgres, AnEmptyTmpdirCountsAsNotSet) {
  setenv("TMPDIR", "", 1);
  auto postgres = EmbeddedPostgres::Start({.ephemeral = true}, SpareSupervisor());
  unsetenv("TMPDIR");
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  EXPECT_THAT((*postgres)->data_dir(), testing::StartsWith("/tmp/sessiond-ephemeral-"));
}

TEST(EmbeddedPostgres, ATmpdirThatIsOnlyForRootIsNotForPostgres) {
  if (geteuid() != 0) GTEST_SKIP() << "only root runs it as another user";
  const TempDir dir;
  chmod((dir / "").c_str(), 0700);
  setenv("TMPDIR", (dir / "").c_str(), 1);
  auto postgres = EmbeddedPostgres::Start({.ephemeral = true}, SpareSupervisor());
  unsetenv("TMPDIR");
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  EXPECT_THAT((*postgres)->data_dir(), testing::StartsWith("/tmp/sessiond-ephemeral-"));
}

TEST(PostgresSupervisor, IsNotForkedFromAProcessWithThreads) {
  absl::Notification done;
  std::thread thread([&] { done.WaitForNotification(); });
  EXPECT_EQ(PostgresSupervisor::Fork().status().code(), absl::StatusCode::kFailedPrecondition);
  done.Notify();
  thread.join();
}

}  // namespace
}  // namespace sessiond::db
