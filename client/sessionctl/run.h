// One run of sessionctl: what the flags say, what the command does, and what must be known to
// explain an error.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/sessionctl/output.h"
#include "sessiond/client.h"

namespace sessiond::ctl {

constexpr char kDefaultServer[] = "127.0.0.1:7377";

struct Run {
  // What the flags say.
  std::string server;  // As typed until Connect; empty: $SESSIOND_SERVER, else kDefaultServer.
  bool server_typed = false;
  absl::Duration timeout = absl::Seconds(10);
  Format format = Format::kTable;
  bool verbose = false;

  // What the chosen command does. An error of it is explained, and its code makes the exit code.
  std::function<absl::Status(Run&)> command;
  int exit_code = 0;  // When the command went well.

  // What was asked for, for the next steps an error proposes. Commands fill in what they know.
  std::string command_name;  // As typed, `session advance`.
  std::string session_id;
  std::string request_id;
  std::string filter;
  std::string error_id;
  std::string task_type;
  std::string path;  // The file that was read.

  CallOptions Options() const;
  // A channel that is connected. UNAVAILABLE, with the reason, as soon as it is known that nobody
  // answers: a person who has not started the daemon is not kept waiting for retries.
  // Throws CLI::ValidationError when `server` names no daemon.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect();
  // One of the clients, on such a channel.
  template <class Client>
  absl::StatusOr<Client> Open() {
    auto channel = Connect();
    if (!channel.ok()) return channel.status();
    return Client(std::shared_ptr<grpc::ChannelInterface>(*std::move(channel)), Options());
  }
};

// Adds a command below `parent`; `command` runs once all flags have been taken.
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

// `import`, of `sessionctl` and of `sessionctl admin`.
void AddImportCommand(CLI::App& parent, Run& run);

// `sessionctl call`, `health`, `version` and `completion`.
void AddCallCommand(CLI::App& app, Run& run);
void AddHealthCommand(CLI::App& app, Run& run);
void AddVersionCommand(CLI::App& app, Run& run);
void AddCompletionCommand(CLI::App& app, Run& run);

// What may come next after the words typed so far (the last one may be a part): a line each, with a
// tab before its description. What completion scripts call as `sessionctl __complete WORD…`.
std::string Complete(const CLI::App& app, const std::vector<std::string>& words);

// The full names of the unary methods in the linked contract,
// `sessiond.v1.SessionService/GetSession`.
std::vector<std::string> CallableMethods();

}  // namespace sessiond::ctl
