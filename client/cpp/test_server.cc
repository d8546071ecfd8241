// The daemon as a child of a thread that also reads its log: Linux ends a child with the thread
// that started it (PR_SET_PDEATHSIG), so this one lives for as long as the daemon does.
#include "sessiond/test_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "steady_time.h"

namespace sessiond {
namespace {

constexpr std::size_t kLogMax = 64 << 10;
// A daemon that drains takes up to 10 s.
constexpr absl::Duration kEndMax = absl::Seconds(15);

// Whether a line of the log says that the daemon is ready; then with its addresses.
bool SaysReady(const std::string& line, std::string& address, std::string& http_address) {
  google::protobuf::Struct fields;
  if (!google::protobuf::util::JsonStringToMessage(line, &fields).ok()) return false;
  const auto text = [&fields](const char* key) {
    const auto field = fields.fields().find(key);
    return field == fields.fields().end() ? "" : field->second.string_value();
  };
  if (text("msg") != "ready") return false;
  address = text("grpc");
  http_address = text("http");
  return true;
}

absl::StatusOr<std::string> Find(const std::string& named) {
  const char* variable = std::getenv("SESSIOND_BINARY");
  std::string binary = !named.empty() ? named : variable != nullptr ? variable : "";
  if (!binary.empty()) {
    if (access(binary.c_str(), X_OK) == 0) return binary;
    return absl::NotFoundError(absl::StrCat(binary, " is no program"));
  }
  const char* path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    binary = absl::StrCat(folder, "/sessiond");
    if (access(binary.c_str(), X_OK) == 0) return binary;
  }
  return absl::NotFoundError(
      "There is no sessiond: put it on the PATH, or name it in SESSIOND_BINARY");
}

}  // namespace

class TestServer::Process {
 public:
  explicit Process(std::vector<std::string> command)
      : command_(std::move(command)), reader_([this] { Run(); }) {}

  ~Process() {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return child_ > 0 || ended_; });
      if (!ended_) {
        kill(child_, SIGTERM);
        if (!WaitAtMost(changed_, lock, kEndMax, [this] { return ended_; })) kill(child_, SIGKILL);
      }
    }
    reader_.join();
  }

  absl::Status AwaitReady(absl::Duration timeout) {
    std::unique_lock lock(mutex_);
    if (!WaitAtMost(changed_, lock, timeout, [this] { return ready_ || ended_; })) {
      return absl::DeadlineExceededError(absl::StrCat("sessiond was not ready within ",
                                                      absl::FormatDuration(timeout), ":\n", log_));
    }
    if (ready_) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("sessiond ended before it was ready:\n", log_));
  }

  // REQUIRES: it is ready.
  const std::string& address() const { return address_; }
  const std::string& http_address() const { return http_address_; }
  std::string log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  void Run() {
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) return End(-1, "no pipe");
    std::vector<char*> arguments;
    for (std::string& argument : command_) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
      // Only what is safe between fork and exec in a program with threads.
      prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (getppid() != parent) _exit(127);
      dup2(pipe_ends[1], STDERR_FILENO);
      dup2(pipe_ends[1], STDOUT_FILENO);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(pipe_ends[1]);
    if (child < 0) {
      close(pipe_ends[0]);
      return End(-1, "no process");
    }
    {
      const std::lock_guard lock(mutex_);
      child_ = child;
      changed_.notify_all();
    }
    FILE* lines = fdopen(pipe_ends[0], "r");
    char* line = nullptr;
    std::size_t size = 0;
    for (ssize_t length; (length = getline(&line, &size, lines)) > 0;)
      Note({line, std::size_t(length)});
    std::free(line);
    std::fclose(lines);
    End(child, "");
  }

  void Note(const std::string& line) {
    const std::lock_guard lock(mutex_);
    log_ += line;
    if (log_.size() > kLogMax) log_.erase(0, log_.find('\n', log_.size() - kLogMax / 2) + 1);
    if (!ready_ && SaysReady(line, address_, http_address_)) {
      ready_ = true;
      changed_.notify_all();
    }
  }

  // Reaps the child under the lock, so that nobody signals a pid that is another's by then.
  void End(pid_t child, const std::string& why) {
    if (child > 0) {
      siginfo_t info;
      waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    }
    const std::lock_guard lock(mutex_);
    if (child > 0) waitpid(child, nullptr, 0);
    log_ += why;
    ended_ = true;
    changed_.notify_all();
  }

  std::vector<std::string> command_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  pid_t child_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::string log_ ABSL_GUARDED_BY(mutex_);
  std::string address_, http_address_;  // Not changed once it is ready.
  std::thread reader_;                  // The last: it uses the rest.
};

absl::StatusOr<std::unique_ptr<TestServer>> TestServer::Start(TestServerOptions options) {
  auto binary = Find(options.binary);
  if (!binary.ok()) return binary.status();
  std::vector<std::string> command = {*binary,
                                      "serve",
                                      "--ephemeral",
                                      "--log-format=json",
                                      "--grpc-listen=127.0.0.1:0",
                                      "--http-listen=127.0.0.1:0"};
  command.insert(command.end(), options.arguments.begin(), options.arguments.end());
  auto process = std::make_unique<Process>(std::move(command));
  absl::Status status = process->AwaitReady(options.start_timeout);
  if (!status.ok()) return status;
  return std::unique_ptr<TestServer>(new TestServer(std::move(process)));
}

TestServer::TestServer(std::unique_ptr<Process> process) : process_(std::move(process)) {}
TestServer::~TestServer() = default;

const std::string& TestServer::address() const { return process_->address(); }
const std::string& TestServer::http_address() const { return process_->http_address(); }
std::string TestServer::log() const { return process_->log(); }

}  // namespace sessiond
