// Everything that a program needs of sessiond, in one object:
//
//   auto client = sessiond::Client::Connect();  // SESSIOND_SERVER, else 127.0.0.1:7377
//   if (!client.ok()) return client.status();
//   sessiond::v1::CreateSessionRequest request;
//   request.mutable_session()->set_workflow("execution");
//   absl::StatusOr<sessiond::v1::Session> session = client->sessions().CreateSession(request);
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sessiond/call.h"
#include "sessiond/client.h"
#include "sessiond/credentials.h"
#include "sessiond/refusal.h"
#include "sessiond/task_runner.h"
#include "sessiond/values.h"
#include "sessiond/watcher.h"

namespace sessiond {

struct ConnectOptions {
  // `HOST:PORT` or `HOST`, whose port is 7377; `https://HOST:PORT` for TLS, and `http://HOST:PORT`
  // for none; `unix:/PATH`; gRPC's `dns:`, `ipv4:` and `ipv6:`. Empty: the variable
  // SESSIOND_SERVER; without that, 127.0.0.1:7377.
  std::string server = {};
  // Without a value, CredentialsFromEnvironment().
  std::optional<Credentials> credentials = {};
  // For every call. `stop` is Close's when it is not given.
  CallOptions calls = {};
};

// The clients of all services over one channel, and what goes on for longer: watches and tasks. A
// value: copies share the channel. Thread-safe; one is enough for a program.
class Client {
 public:
  // Does not connect yet: the first call does. INVALID_ARGUMENT: `server` is no address; the
  // sentence says how one is written. Other errors are those of MakeChannel.
  static absl::StatusOr<Client> Connect(ConnectOptions options = {});

  const SessionClient& sessions() const { return sessions_; }
  const TaskClient& tasks() const { return tasks_; }
  const ErrorClient& errors() const { return errors_; }
  const MessageClient& messages() const { return messages_; }
  const ArtifactClient& artifacts() const { return artifacts_; }
  const WorkflowClient& workflows() const { return workflows_; }
  const AdminClient& admin() const { return admin_; }

  // The same client, whose calls take so long at most:
  // client.WithTimeout(absl::Seconds(1)).tasks().
  Client WithTimeout(absl::Duration timeout) const;

  // A watch that resumes by itself; see Watcher. It carries what calls carry, and after a silence
  // goes on through another connection.
  std::unique_ptr<Watcher> Watch(v1::WatchSessionsRequest request, WatchOptions options = {}) const;

  // Runs a task on this thread; see task_runner.h.
  absl::StatusOr<TaskResult> RunTask(TaskSpec spec, const TaskWork& work) const;

  // Ends what goes on, of all copies: calls end with CANCELLED, watches as after Stop, and the work
  // of tasks is told to stop. Does not wait for it.
  void Close() const;

 private:
  struct Connection;
  Client(std::shared_ptr<Connection> connection, CallOptions calls);

  std::shared_ptr<Connection> connection_;
  SessionClient sessions_;
  TaskClient tasks_;
  ErrorClient errors_;
  MessageClient messages_;
  ArtifactClient artifacts_;
  WorkflowClient workflows_;
  AdminClient admin_;
};

}  // namespace sessiond
