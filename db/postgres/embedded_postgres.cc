#include "db/postgres/embedded_postgres.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "db/base/failpoint.h"
#include "db/base/sha256.h"
#include "db/connection/connection.h"

namespace sessiond::db {
namespace {

namespace fs = std::filesystem;

// The oldest PostgreSQL that the schema and the statements are tested with.
constexpr int kMajorMin = 15;
// Where Debian and Ubuntu install the programs of each major version.
constexpr char kDebianDir[] = "/usr/lib/postgresql";
constexpr char kSocketName[] = ".s.PGSQL.5432";
// Without the NUL that ends it.
constexpr size_t kSocketPathMax = sizeof(sockaddr_un::sun_path) - 1;
// How often a file is checked, since nothing notifies of its changes; starting takes about 100 ms.
constexpr absl::Duration kPoll = absl::Milliseconds(10);
// For the supervisor, and for PostgreSQL once it is ready.
constexpr absl::Duration kAnswerTimeout = absl::Seconds(30);
// How often it is told that PostgreSQL still recovers.
constexpr absl::Duration kTellPeriod = absl::Seconds(10);
// Longer than the supervisor takes to end PostgreSQL by force.
constexpr absl::Duration kStopTimeout = absl::Seconds(40);
// Some 30,000 lines; PostgreSQL logs little unless there is trouble.
constexpr off_t kLogBytesMax = 4 << 20;
constexpr size_t kLogTailBytes = 2000;

absl::Status InTheWay(absl::string_view sentence) {
  return absl::FailedPreconditionError(sentence);
}

absl::Status Errno(absl::string_view what) {
  return InTheWay(absl::StrCat("cannot ", what, ": ", strerror(errno)));
}

absl::Status AskedToStop() { return absl::CancelledError("asked to stop"); }

std::string FirstLine(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

// The name of a user, for messages.
std::string NameOf(uid_t uid) {
  const passwd* user = getpwuid(uid);
  return user == nullptr ? absl::StrCat("with uid ", uid) : absl::StrCat("`", user->pw_name, "`");
}

// ---------------------------------------------------------------------------------------- Programs

struct Programs {
  std::string bin_dir;
  // 15 and `15.20`.
  int major = 0;
  std::string version;
};

// The standard output of a program; empty if it cannot be run. posix_spawn, as the daemon may have
// threads by now.
std::string OutputOf(std::vector<std::string> words) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return "";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_fds[1]);
  std::string output;
  char buffer[256];
  ssize_t size;
  while (failed == 0 && (size = read(pipe_fds[0], buffer, sizeof buffer)) > 0)
    output.append(buffer, size);
  close(pipe_fds[0]);
  if (failed == 0) waitpid(pid, nullptr, 0);
  return std::string(absl::StripAsciiWhitespace(output));
}

// `postgres (PostgreSQL) 15.20 (Debian …)`; major 0 if PostgreSQL's server programs are not there.
Programs ProgramsIn(const std::string& bin_dir) {
  Programs programs{.bin_dir = bin_dir};
  if (access((bin_dir + "/initdb").c_str(), X_OK) != 0) return programs;
  const std::vector<std::string> words =
      absl::StrSplit(OutputOf({bin_dir + "/postgres", "--version"}), ' ');
  if (words.size() < 3) return programs;
  programs.version = words[2];
  const absl::string_view major =
      absl::string_view(words[2]).substr(0, words[2].find_first_not_of("0123456789"));
  if (!absl::SimpleAtoi(major, &programs.major)) programs.major = 0;
  return programs;
}

// Where to look, in this order.
std::vector<std::string> BinDirs(const std::string& wanted) {
  if (!wanted.empty()) return {wanted};
  std::vector<std::string> dirs;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(kDebianDir, ignored))
    dirs.push_back(entry.path() / "bin");
  if (std::string dir = OutputOf({"pg_config", "--bindir"}); !dir.empty()) dirs.push_back(dir);
  if (const char* path = std::getenv("PATH")) {
    for (absl::string_view dir : absl::StrSplit(path, ':', absl::SkipEmpty()))
      dirs.emplace_back(dir);
  }
  return dirs;
}

// For each usable major version the first found.
std::map<int, Programs> FindAllPrograms(const std::string& bin_dir) {
  std::map<int, Programs> found;
  for (const std::string& dir : BinDirs(bin_dir)) {
    const Programs programs = ProgramsIn(dir);
    if (programs.major >= kMajorMin) found.emplace(programs.major, programs);
  }
  return found;
}

// ------------------------------------------------------------------------------------- Directories

// Whether this user may enter a directory, by its permission bits; PostgreSQL has the last word.
bool MayEnter(const std::string& dir, uid_t uid, gid_t gid, const std::string& user) {
  struct stat info;
  if (stat(dir.c_str(), &info) != 0) return false;
  if (info.st_uid == uid) return info.st_mode & S_IXUSR;
  gid_t groups[64];
  int count = 64;
  if (getgrouplist(user.c_str(), gid, groups, &count) < 0) count = 0;
  if (std::count(groups, groups + count, info.st_gid) > 0) return info.st_mode & S_IXGRP;
  return info.st_mode & S_IXOTH;
}

// From the root down to `dir` itself.
std::vector<std::string> Ancestors(const fs::path& dir) {
  std::vector<std::string> ancestors;
  fs::path path;
  for (const fs::path& part : dir) ancestors.push_back(path /= part);
  return ancestors;
}

// Whether what is there, if anything, is a private directory of this user.
bool IsPrivateOrNone(const std::string& dir, uid_t uid) {
  struct stat info;
  if (lstat(dir.c_str(), &info) != 0) return errno == ENOENT;
  return S_ISDIR(info.st_mode) && info.st_uid == uid && (info.st_mode & 077) == 0;
}

// --------------------------------------------------------------------------------------- Processes

// Whether it is a running PostgreSQL. A zombie is dead: it waits for its parent, not for us.
bool RunsPostgres(pid_t pid) {
  const std::string stat = FirstLine(absl::StrCat("/proc/", pid, "/stat"));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return false;
  return absl::StrContains(stat.substr(0, name_end + 1), "(postgres)") &&
         stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

// Whether a PostgreSQL works in `dir`, where each goes at its start. By the directory itself: a
// container's may be called alike. What cannot be looked at might.
bool MayWorkIn(const std::string& dir, pid_t pid) {
  struct stat ours, its;
  if (stat(dir.c_str(), &ours) != 0) return true;
  if (stat(absl::StrCat("/proc/", pid, "/cwd").c_str(), &its) != 0) return true;
  return ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

// A running process of a cluster, either the postmaster (which has the name in its arguments) or a
// backend (which has it in its title); 0 if there is none.
pid_t ProcessOf(const std::string& cluster_name, const std::string& data) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    pid_t pid;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid) || !RunsPostgres(pid)) continue;
    if (absl::StrContains(FirstLine(entry.path() / "cmdline"), cluster_name) &&
        MayWorkIn(data, pid)) {
      return pid;
    }
  }
  return 0;
}

// Whether a program listens to a unix socket. Of one that cannot be asked it is assumed.
bool IsListenedTo(const std::string& path) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, kSocketPathMax);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool nobody = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 &&
                      (errno == ECONNREFUSED || errno == ENOENT);
  close(fd);
  return !nobody;
}

// What PostgreSQL has written into its postmaster.pid, by lines.
std::vector<std::string> PidFile(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    lines.emplace_back(absl::StripAsciiWhitespace(line));
  return lines;
}

pid_t PidIn(const std::vector<std::string>& pid_file) {
  pid_t pid = 0;
  return !pid_file.empty() && absl::SimpleAtoi(pid_file[0], &pid) ? pid : 0;
}

std::string Quoted(absl::string_view value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

}  // namespace

// --------------------------------------------------------------------------------------- Lifecycle

EmbeddedPostgres::EmbeddedPostgres(EmbeddedPostgresOptions options, PostgresSupervisor& supervisor)
    : options_(std::move(options)), supervisor_(supervisor) {
  if (!options_.ephemeral) return;
  options_.durable = false;
  options_.data_dir.clear();
}

absl::StatusOr<std::unique_ptr<EmbeddedPostgres>> EmbeddedPostgres::Start(
    EmbeddedPostgresOptions options, PostgresSupervisor& supervisor) {
  auto postgres = absl::WrapUnique(new EmbeddedPostgres(std::move(options), supervisor));
  postgres->deadline_ = SteadyTime::Now() + postgres->options_.start_timeout;
  for (auto step :
       {&EmbeddedPostgres::FindUser, &EmbeddedPostgres::FindPlaces, &EmbeddedPostgres::FindPrograms,
        &EmbeddedPostgres::MakeDataDir, &EmbeddedPostgres::TakeLock,
        &EmbeddedPostgres::MakeSocketDir, &EmbeddedPostgres::OpenLog,
        &EmbeddedPostgres::AwaitPredecessor, &EmbeddedPostgres::InitCluster,
        &EmbeddedPostgres::Launch, &EmbeddedPostgres::MakeDatabase}) {
    if (postgres->options_.stop.stop_requested()) return AskedToStop();
    if (absl::Status done = (postgres.get()->*step)(); !done.ok()) return done;
  }
  return postgres;
}

absl::Status EmbeddedPostgres::Check(EmbeddedPostgresOptions options,
                                     PostgresSupervisor& supervisor) {
  EmbeddedPostgres postgres(std::move(options), supervisor);
  for (auto step : {&EmbeddedPostgres::FindUser, &EmbeddedPostgres::FindPlaces}) {
    if (absl::Status done = (postgres.*step)(); !done.ok()) return done;
  }
  std::error_code unknown;
  if (fs::exists(fs::symlink_status(postgres.Path("data"), unknown))) {
    if (absl::Status found = postgres.FindPrograms(); !found.ok()) return found;
  }
  return postgres.CheckSocketDir();
}

EmbeddedPostgres::~EmbeddedPostgres() { Stop().IgnoreError(); }

absl::Status EmbeddedPostgres::Stop() {
  if (launched_) {
    absl::Status stopped = supervisor_.Stop(SteadyTime::Now() + kStopTimeout);
    if (!stopped.ok()) return stopped;
    launched_ = false;
  }
  if (options_.ephemeral) {
    std::error_code ignored;
    fs::remove_all(options_.data_dir, ignored);
  }
  if (lock_ < 0) return absl::OkStatus();
  // Empty by now; else it stays for the next start.
  if (has_socket_dir_) rmdir(socket_dir_.c_str());
  close(lock_);
  lock_ = -1;
  return absl::OkStatus();
}

std::string EmbeddedPostgres::dsn(absl::string_view database) const {
  return absl::StrCat("host=", Quoted(socket_dir_),
                      " port=5432 user=sessiond dbname=", Quoted(database));
}

std::string EmbeddedPostgres::psql_command() const {
  return absl::StrCat("psql -h ", socket_dir_, " -p 5432 -U sessiond sessiond");
}

absl::StatusOr<PostgresSupervisor::State> EmbeddedPostgres::state() const {
  return supervisor_.GetState(SteadyTime::Now() + absl::Seconds(5));
}

std::string EmbeddedPostgres::Path(absl::string_view name) const {
  return absl::StrCat(options_.data_dir, "/", name);
}

// Gives a file that we have just made to the user PostgreSQL runs as.
absl::Status EmbeddedPostgres::Own(const std::string& path) const {
  if (user_.drop.empty() || lchown(path.c_str(), user_.uid, user_.gid) == 0)
    return absl::OkStatus();
  return Errno(absl::StrCat("give ", path, " to user ", NameOf(user_.uid)));
}

// With the end of what was logged since we began.
absl::Status EmbeddedPostgres::Failed(absl::string_view what) const {
  std::ifstream log(Path("log"));
  log.seekg(log_begin_);
  std::stringstream text;
  text << log.rdbuf();
  std::string tail = text.str();
  if (tail.size() > kLogTailBytes) tail.erase(0, tail.size() - kLogTailBytes);
  return absl::UnavailableError(
      absl::StrCat(what, "; the end of ", Path("log"), ":\n", absl::StripAsciiWhitespace(tail)));
}

// ---------------------------------------------------------------------------- The steps of a start

absl::Status EmbeddedPostgres::FindUser() {
  const bool root = geteuid() == 0;
  // Debian's package makes this user, and gives it no other duty than to run PostgreSQL. `nobody`
  // is not a stand-in: every other service that falls back on it could read the sessions.
  const passwd* user = root ? getpwnam("postgres") : getpwuid(geteuid());
  if (user != nullptr) {
    user_ = {.uid = user->pw_uid,
             .gid = user->pw_gid,
             .name = user->pw_name,
             .drop = root ? user->pw_name : ""};
    return absl::OkStatus();
  }
  if (!root) {
    // An unknown uid, as in a container with an arbitrary one: PostgreSQL needs a user name.
    return InTheWay(absl::StrCat("uid ", geteuid(),
                                 " has no entry in /etc/passwd, which PostgreSQL needs: run "
                                 "sessiond as a user that has one, or use --db-url"));
  }
  return InTheWay(
      "PostgreSQL refuses to run as root, and there is no user `postgres` for it: apt-get install "
      "postgresql-15, run "
      "sessiond as an ordinary user, or use --db-url");
}

absl::Status EmbeddedPostgres::FindPlaces() {
  if (options_.ephemeral) {
    const char* tmp = std::getenv("TMPDIR");
    // Empty: as not set. Some systems give root one of its own, for which PostgreSQL has no use.
    const bool given = tmp != nullptr && *tmp != '\0' && !Barrier(tmp).has_value();
    options_.data_dir = absl::StrCat(given ? tmp : "/tmp", "/sessiond-ephemeral-XXXXXX");
    // Its name is unknown before it is made: the only thing made before everything was checked.
    if (mkdtemp(options_.data_dir.data()) == nullptr) return Errno("make " + options_.data_dir);
  }
  std::error_code error;
  const fs::path data_dir = fs::weakly_canonical(fs::absolute(options_.data_dir), error);
  if (error)
    return InTheWay(absl::StrCat("cannot find ", options_.data_dir, ": ", error.message()));
  options_.data_dir = std::string(absl::StripSuffix(data_dir.string(), "/"));
  const std::string hash = Sha256Hex(options_.data_dir).substr(0, 8);
  cluster_name_ = "sessiond-" + hash;

  const char* runtime_dir = std::getenv("XDG_RUNTIME_DIR");
  if (!options_.socket_dir.empty()) {
    socket_dir_ = fs::absolute(options_.socket_dir);
  } else if (runtime_dir != nullptr && user_.drop.empty() &&
             access(runtime_dir, W_OK | X_OK) == 0) {
    socket_dir_ = absl::StrCat(runtime_dir, "/", cluster_name_);
  } else {
    socket_dir_ = absl::StrCat("/tmp/sessiond-", user_.uid, "-", hash);
  }
  const size_t size = socket_dir_.size() + 1 + std::strlen(kSocketName);
  // An ephemeral directory is still closed, and what is above it was looked at.
  if (size <= kSocketPathMax) return options_.ephemeral ? absl::OkStatus() : CheckWay();
  return InTheWay(absl::StrCat("the path of PostgreSQL's socket, ", socket_dir_, "/", kSocketName,
                               ", has ", size, " bytes and may have ", kSocketPathMax,
                               ": choose a shorter directory for it, by XDG_RUNTIME_DIR"));
}

// The newest, or those that made the data.
absl::Status EmbeddedPostgres::FindPrograms() {
  const std::map<int, Programs> found = FindAllPrograms(options_.bin_dir);
  if (found.empty()) {
    return InTheWay(absl::StrCat(
        "the server programs of PostgreSQL ", kMajorMin, " or newer are not in ",
        options_.bin_dir.empty() ? absl::StrCat(kDebianDir, "/*/bin, `pg_config --bindir` or PATH")
                                 : options_.bin_dir,
        ": apt-get install postgresql-15, or use --db-url"));
  }
  Programs chosen = found.rbegin()->second;
  struct stat info;
  if (lstat(Path("data").c_str(), &info) == 0) {
    if (info.st_uid != user_.uid) {
      return InTheWay(absl::StrCat(Path("data"), " belongs to user ", NameOf(info.st_uid),
                                   ", but PostgreSQL would run as ", NameOf(user_.uid),
                                   ": start sessiond as the one who made it, or choose another "
                                   "--data-dir"));
    }
    const std::string made_by = FirstLine(Path("data/PG_VERSION"));
    int major;
    if (!absl::SimpleAtoi(made_by, &major)) {
      return InTheWay(
          absl::StrCat(Path("data"),
                       " is there but is no data directory of PostgreSQL: move it away, or "
                       "choose another --data-dir"));
    }
    if (!found.contains(major)) {
      return InTheWay(
          absl::StrCat(Path("data"), " was made by PostgreSQL ", major, ", found was ",
                       chosen.version, ": apt-get install postgresql-", major,
                       ", or move the data over by pg_dump and choose another --data-dir"));
    }
    chosen = found.at(major);
  }
  options_.bin_dir = chosen.bin_dir;
  version_ = chosen.version;
  return absl::OkStatus();
}

std::optional<std::string> EmbeddedPostgres::Barrier(const std::string& path) const {
  std::error_code unknown;
  for (const std::string& dir :
       Ancestors(fs::weakly_canonical(fs::absolute(path, unknown), unknown))) {
    if (fs::exists(dir, unknown) && !MayEnter(dir, user_.uid, user_.gid, user_.name)) return dir;
  }
  return std::nullopt;
}

absl::Status EmbeddedPostgres::CheckWay() {
  const std::optional<std::string> barrier = Barrier(options_.data_dir);
  if (!barrier.has_value()) return absl::OkStatus();
  // Only a free directory is suggested.
  constexpr char kElsewhere[] = "/var/lib/sessiond";
  const bool free = options_.data_dir != kElsewhere && DataDirUser(kElsewhere).empty();
  return InTheWay(absl::StrCat(*barrier, " cannot be entered by user ", NameOf(user_.uid),
                               ", whom PostgreSQL runs as: choose a --data-dir elsewhere",
                               free ? absl::StrCat(" (for example ", kElsewhere, ")") : "",
                               ", or chmod o+x ", *barrier));
}

absl::Status EmbeddedPostgres::MakeDataDir() {
  std::error_code error;
  const bool made = fs::create_directories(options_.data_dir, error);
  if (error)
    return InTheWay(absl::StrCat("cannot make ", options_.data_dir, ": ", error.message()));
  // Root's directory stays root's, so that what root does in it is safe; PostgreSQL may enter, and
  // owns its part of it, `data`.
  const mode_t mode = user_.drop.empty() ? 0700 : 0755;
  if ((made || options_.ephemeral) && chmod(options_.data_dir.c_str(), mode) != 0) {
    return Errno("set the permissions of " + options_.data_dir);
  }
  return CheckWay();  // Once more: of what was just made.
}

std::string DataDirUser(const std::string& data_dir) {
  const std::string path = absl::StrCat(data_dir, "/lock");
  const int lock = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (lock < 0) return "";
  const bool taken = flock(lock, LOCK_SH | LOCK_NB) != 0;
  close(lock);
  return taken ? FirstLine(path) : "";
}

absl::Status EmbeddedPostgres::TakeLock() {
  const std::string path = Path("lock");
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_ < 0) return Errno("open " + path);
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const std::string owner = FirstLine(path);
    close(lock_);
    lock_ = -1;
    return InTheWay(absl::StrCat(options_.data_dir, " is in use by another sessiond (pid ", owner,
                                 "): stop it, or choose another --data-dir"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(lock_, 0) != 0 || pwrite(lock_, pid.data(), pid.size(), 0) < 0)
    return Errno("write " + path);
  return absl::OkStatus();
}

absl::Status EmbeddedPostgres::CheckSocketDir() const {
  if (IsPrivateOrNone(socket_dir_, user_.uid)) return absl::OkStatus();
  // Root's is always in /tmp, for PostgreSQL's user has none.
  const char* const or_else = user_.drop.empty() ? ", or choose another by XDG_RUNTIME_DIR" : "";
  return InTheWay(absl::StrCat(socket_dir_, " is not a private directory of user ",
                               NameOf(user_.uid),
                               ", so PostgreSQL's socket is not safe there: remove it", or_else));
}

// In a place where others may write, too.
absl::Status EmbeddedPostgres::MakeSocketDir() {
  const bool made = mkdir(socket_dir_.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return Errno("make " + socket_dir_);
  if (made && chown(socket_dir_.c_str(), user_.uid, user_.gid) != 0)
    return Errno(absl::StrCat("give ", socket_dir_, " to PostgreSQL"));
  absl::Status ours = CheckSocketDir();
  has_socket_dir_ = ours.ok();
  return ours;
}

absl::Status EmbeddedPostgres::OpenLog() {
  const std::string path = Path("log");
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && info.st_size > kLogBytesMax)
    rename(path.c_str(), (path + ".1").c_str());
  const int log = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (log < 0) return Errno("open " + path);
  log_begin_ = lseek(log, 0, SEEK_END);
  close(log);
  return Own(path);
}

// A killed daemon leaves a PostgreSQL that is shutting down, and perhaps a postmaster.pid.
// PostgreSQL itself respects that file, and the lock of its socket, as long as any process, even a
// zombie or an unrelated one, has the pid in it. After a power cut that may be another PostgreSQL
// of this machine.
absl::Status EmbeddedPostgres::AwaitPredecessor() {
  const std::string pid_file = Path("data/postmaster.pid");
  const SteadyTime deadline = std::min(deadline_, SteadyTime::Now() + kStopTimeout);
  while (true) {
    pid_t pid = PidIn(PidFile(pid_file));
    if (pid == 0 || !RunsPostgres(pid) || !MayWorkIn(Path("data"), pid))
      pid = ProcessOf(cluster_name_, Path("data"));
    if (pid == 0) break;
    if (options_.stop.stop_requested()) return AskedToStop();
    if (SteadyTime::Now() >= deadline) {
      return InTheWay(absl::StrCat("PostgreSQL (pid ", pid, ") still runs on ", Path("data"),
                                   ": stop it by kill -INT ", pid));
    }
    absl::SleepFor(kPoll);
  }
  const std::string socket = absl::StrCat(socket_dir_, "/", kSocketName);
  if (IsListenedTo(socket)) {
    return InTheWay(absl::StrCat("PostgreSQL of another machine or container answers at ", socket,
                                 ": give one of the two another directory for it, by "
                                 "XDG_RUNTIME_DIR, or another --data-dir"));
  }
  for (const std::string& stale : {pid_file, socket, socket + ".lock"}) unlink(stale.c_str());
  return absl::OkStatus();
}

absl::Status EmbeddedPostgres::InitCluster() {
  std::error_code error;
  if (fs::exists(Path("data"), error)) return absl::OkStatus();
  // Left by an interrupted initdb; no data was ever written there. One that was killed with its
  // daemon may still clean up after itself, so that each has a name of its own.
  for (const auto& entry : fs::directory_iterator(options_.data_dir, error)) {
    if (absl::StartsWith(entry.path().filename().native(), "data.new"))
      fs::remove_all(entry.path(), error);
  }
  std::string unborn = Path("data.new-XXXXXX");
  if (mkdtemp(unborn.data()) == nullptr) return Errno("make " + unborn);
  if (absl::Status owned = Own(unborn); !owned.ok()) return owned;

  PostgresSupervisor::Program initdb = {
      .argv = {options_.bin_dir + "/initdb", "-D", unborn, "-U", "sessiond", "-E", "UTF8",
               "--locale=C", "--auth=trust", "--no-instructions"},
      .log_path = Path("log"),
      .user = user_.drop};
  if (!options_.durable) initdb.argv.push_back("--no-sync");
  launched_ = true;
  absl::StatusOr<int> ended = supervisor_.Run(initdb, deadline_, options_.stop);
  if (absl::IsDeadlineExceeded(ended.status())) {
    return Failed(absl::StrCat(
        "initdb did not end within ", absl::FormatDuration(options_.start_timeout),
        ": see whether the disk of ", options_.data_dir, " is slow or hangs, and start again"));
  }
  if (!ended.ok()) return ended.status();
  if (*ended != 0) return Failed("initdb failed");

  Reached(Failpoint::kClusterMade);
  if (rename(unborn.c_str(), Path("data").c_str()) != 0) return Errno("rename " + unborn);
  const int dir = open(options_.data_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    fsync(dir);
    close(dir);
  }
  return absl::OkStatus();
}

absl::Status EmbeddedPostgres::Launch() {
  crashed_ = !absl::StrContains(
      OutputOf({"env", "LC_ALL=C", options_.bin_dir + "/pg_controldata", Path("data")}),
      "shut down");
  std::vector<std::pair<std::string, std::string>> settings = {
      {"listen_addresses", ""},
      // A list, and so quoted.
      {"unix_socket_directories", absl::StrCat("\"", socket_dir_, "\"")},
      {"unix_socket_permissions", "0700"},
      {"port", "5432"},
      {"cluster_name", cluster_name_},
      {"max_connections", absl::StrCat(options_.max_connections)},
      {"shared_buffers", "128MB"},
      // For lists of rows that lie far apart on the disk: this many pages are prefetched.
      {"effective_io_concurrency", "32"},
      // Our statements are small; compiling them costs more than running them.
      {"jit", "off"},
      {"logging_collector", "off"},
      {"log_checkpoints", "off"},
      // Without the values of the rows that it refuses.
      {"log_error_verbosity", "terse"},
      {"log_line_prefix", "%m [%p] "},
      {"log_timezone", "UTC"},
      {"timezone", "UTC"},
      {"fsync", options_.durable ? "on" : "off"},
      {"synchronous_commit", options_.durable ? "on" : "off"},
      {"full_page_writes", options_.durable ? "on" : "off"},
  };
  settings.insert(settings.end(), options_.settings.begin(), options_.settings.end());
  PostgresSupervisor::Program postgres = {
      .argv = {options_.bin_dir + "/postgres", "-D", Path("data")},
      .log_path = Path("log"),
      .user = user_.drop};
  for (const auto& [name, value] : settings) {
    postgres.argv.insert(postgres.argv.end(), {"-c", absl::StrCat(name, "=", value)});
  }
  launched_ = true;
  if (absl::Status served = supervisor_.Serve(postgres, deadline_); !served.ok()) return served;

  SteadyTime told = SteadyTime::Now();
  while (true) {
    if (options_.stop.stop_requested()) return AskedToStop();
    absl::StatusOr<PostgresSupervisor::State> state =
        supervisor_.GetState(SteadyTime::Now() + kAnswerTimeout);
    if (!state.ok()) return state.status();
    // A second start means that it died of something permanent.
    if (state->pid == 0 || state->starts > 1) return Failed("PostgreSQL did not start");
    const std::vector<std::string> pid_file = PidFile(Path("data/postmaster.pid"));
    const bool speaks = pid_file.size() >= 8 && PidIn(pid_file) == state->pid;
    const SteadyTime now = SteadyTime::Now();
    if (speaks && pid_file[7] == "ready") {
      deadline_ = std::max(deadline_, now + kAnswerTimeout);
      return absl::OkStatus();
    }
    // One that was broken off would begin anew at the next start, and take as long.
    const bool recovers = crashed_ && speaks && pid_file[7] == "starting";
    if (now >= deadline_ && !recovers) break;
    if (recovers && now - told >= kTellPeriod) {
      told = now;
      if (options_.on_recovery) options_.on_recovery();
    }
    absl::SleepFor(kPoll);
  }
  return Failed(absl::StrCat("PostgreSQL was not ready within ",
                             absl::FormatDuration(options_.start_timeout)));
}

// This also proves that it answers.
absl::Status EmbeddedPostgres::MakeDatabase() {
  auto connection = Connection::Open({.dsn = dsn("postgres")}, deadline_);
  if (!connection.ok()) return connection.status();
  const auto found =
      (*connection)->Query("SELECT 1 FROM pg_database WHERE datname = 'sessiond'", deadline_);
  if (!found.ok()) return found.status();
  if (found->rows() == 1) return absl::OkStatus();
  Reached(Failpoint::kClusterStarted);
  return (*connection)->Execute("CREATE DATABASE sessiond", deadline_);
}

}  // namespace sessiond::db
