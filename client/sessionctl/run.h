// One run of sessionctl: the flags, the command, and what is needed to explain an error.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/sessionctl/connection.h"
#include "client/sessionctl/output.h"
#include "sessiond/client.h"

namespace sessiond::ctl {

struct Run {
  // From the flags.
  TypedSettings typed;
  absl::Duration timeout = absl::Seconds(10);
  Format format = Format::kTable;
  bool verbose = false;

  // The chosen command. Its error is explained, and decides the exit code.
  std::function<absl::Status(Run&)> command;
  int exit_code = 0;  // When the command succeeds.

  // How the daemon is reached, once that was resolved. Before, `server` is what was typed.
  Connection connection;
  std::string server;

  // Context for the next steps that an error proposes. Commands fill in what they know.
  std::string command_name;  // As typed, `session advance`.
  std::string session_id;
  std::string request_id;
  std::string filter;
  std::string error_id;
  std::string task_type;
  std::string path;                 // The file that was read.
  std::vector<std::string> advice;  // What to do about a connection that did not come about.

  CallOptions Options() const;
  // A connected channel. UNAVAILABLE, with the reason, as soon as it is clear that no daemon
  // responds: a person who has not started the daemon does not wait for retries. Throws
  // CLI::ValidationError when the address, a file or a context is not valid.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect();
  // One of the clients, on such a channel.
  template <class Client>
  absl::StatusOr<Client> Open() {
    auto channel = Connect();
    if (!channel.ok()) return channel.status();
    return Client(std::shared_ptr<grpc::ChannelInterface>(*std::move(channel)), Options());
  }
};

// Adds a command below `parent`; `command` runs after all flags have been parsed.
CLI::App* AddCommand(CLI::App& parent, Run& run, const std::string& name,
                     const std::string& description, std::function<absl::Status(Run&)> command);

// `sessionctl session …`, `task …` and so on: one group of commands for each service.
void AddSessionCommands(CLI::App& app, Run& run);
void AddTaskCommands(CLI::App& app, Run& run);
void AddErrorCommands(CLI::App& app, Run& run);
void AddMessageCommands(CLI::App& app, Run& run);
void AddArtifactCommands(CLI::App& app, Run& run);
void AddWorkflowCommands(CLI::App& app, Run& run);
void AddAdminCommands(CLI::App& app, Run& run);

// `sessionctl session watch`.
void AddWatchCommand(CLI::App& group, Run& run);

// `sessionctl context …`.
void AddContextCommands(CLI::App& app, Run& run);

// `sessionctl whoami`.
void AddWhoamiCommand(CLI::App& app, Run& run);

// `import`, of `sessionctl` and of `sessionctl admin`.
void AddImportCommand(CLI::App& parent, Run& run);

// `sessionctl call`, `health`, `version` and `completion`.
void AddCallCommand(CLI::App& app, Run& run);
void AddHealthCommand(CLI::App& app, Run& run);
void AddVersionCommand(CLI::App& app, Run& run);
void AddCompletionCommand(CLI::App& app, Run& run);

// The words that may come next after those typed so far (the last one may be partial): one per
// line, with a tab before its description. Completion scripts call it as `sessionctl __complete
// WORD…`.
std::string Complete(const CLI::App& app, const std::vector<std::string>& words);

// The full names of the unary methods in the linked contract,
// `sessiond.v1.SessionService/GetSession`.
std::vector<std::string> CallableMethods();

}  // namespace sessiond::ctl
