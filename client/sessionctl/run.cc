#include "client/sessionctl/run.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/server_address.h"
#include "client/steady_time.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace sessiond::ctl {

namespace {

// An empty variable counts as unset.
void ChooseServer(Run& run) {
  const char* variable = std::getenv("SESSIOND_SERVER");
  const bool named = variable != nullptr && *variable != '\0';
  if (!run.server_typed) run.server = named ? variable : kDefaultServer;
  auto address = ParseServerAddress(run.server);
  if (!address.ok()) {
    throw CLI::ValidationError(run.server_typed ? "--server" : "SESSIOND_SERVER",
                               std::string(address.status().message()));
  }
  run.server = *std::move(address);
}

}  // namespace

CallOptions Run::Options() const {
  CallOptions options{.timeout = timeout};
  if (verbose || Colored(stderr)) {
    options.on_retry = [](const absl::Status& status, absl::Duration pause) {
      absl::FPrintF(stderr, "again in %s: %s\n",
                    absl::FormatDuration(absl::Trunc(pause, absl::Milliseconds(1))),
                    Printable(status.message()));
    };
  }
  return options;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Run::Connect() {
  ChooseServer(*this);
  auto channel = MakeChannel(server);
  const Deadline deadline(timeout);
  auto state = channel->GetState(/*try_to_connect=*/true);
  while (state != GRPC_CHANNEL_READY && state != GRPC_CHANNEL_TRANSIENT_FAILURE) {
    if (!channel->WaitForStateChange(state, deadline.ForGrpc())) {
      return absl::UnavailableError(absl::StrCat("Nothing at ", server, " spoke gRPC within ",
                                                 absl::FormatDuration(timeout)));
    }
    state = channel->GetState(true);
  }
  if (state == GRPC_CHANNEL_READY) return channel;

  // The channel does not say why; the error of a failing call does, after its last colon.
  grpc::ClientContext context;
  context.set_deadline(deadline.ForGrpc());
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(channel)->Check(&context, {}, &response);
  // Any other error comes from a daemon: the second attempt to connect succeeded.
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE &&
      status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) {
    return channel;
  }
  const std::vector<std::string> parts = absl::StrSplit(status.error_message(), ": ");
  return absl::UnavailableError(absl::StrCat("No daemon answers at ", server, ": ", parts.back()));
}

CLI::App* AddCommand(CLI::App& parent, Run& run, const std::string& name,
                     const std::string& description, std::function<absl::Status(Run&)> command) {
  CLI::App* app = parent.add_subcommand(name, description);
  const std::string group = parent.get_parent() == nullptr ? "" : parent.get_name() + " ";
  app->callback([&run, full_name = group + name, command = std::move(command)] {
    run.command_name = full_name;
    run.command = command;
  });
  return app;
}

}  // namespace sessiond::ctl
