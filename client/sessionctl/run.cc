#include "client/sessionctl/run.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/cpp/steady_time.h"
#include "client/sessionctl/contexts.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/tls_trouble.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace sessiond::ctl {

namespace {

// Makes a channel out of the settings. Throws what is wrong with them, with its origin.
std::shared_ptr<grpc::Channel> MakeChannelOf(const Connection& connection) {
  auto channel = MakeChannel(connection.server, connection.credentials());
  if (channel.ok()) return *std::move(channel);
  const std::string message(channel.status().message());
  if (absl::IsFailedPrecondition(channel.status())) {
    throw CLI::ValidationError(
        absl::StrCat(message, ": --tls-ca FILE, --tls, --server unix:PATH; the token is from ",
                     connection.settings.at("token-file").origin));
  }
  // The file that it names, with what named the file.
  for (const SettingKind& kind : kSettings) {
    const auto setting = connection.settings.find(kind.name);
    if (kind.path && setting != connection.settings.end() &&
        absl::StrContains(message, absl::StrCat(" ", setting->second.value, " "))) {
      throw CLI::ValidationError(setting->second.origin, message);
    }
  }
  throw CLI::ValidationError(message);
}

// UNAVAILABLE, with advice, if TLS is the reason why there is no connection; OK if not.
absl::Status WhyNot(Run& run) {
  auto trouble = FindTlsTrouble(run.connection);
  if (!trouble.has_value()) return absl::OkStatus();
  run.advice = std::move(trouble->next);
  return absl::UnavailableError(trouble->sentence);
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
  auto resolved = ResolveConnection(typed);
  if (!resolved.ok()) throw CLI::ValidationError(std::string(resolved.status().message()));
  connection = *std::move(resolved);
  server = connection.server;
  auto channel = MakeChannelOf(connection);
  const Deadline deadline(timeout);
  auto state = channel->GetState(/*try_to_connect=*/true);
  while (state != GRPC_CHANNEL_READY && state != GRPC_CHANNEL_TRANSIENT_FAILURE) {
    if (!channel->WaitForStateChange(state, deadline.ForGrpc())) {
      if (auto status = WhyNot(*this); !status.ok()) return status;
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
  if (auto why = WhyNot(*this); !why.ok()) return why;
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
