#include "sessiond/connect.h"

#include <cstdlib>
#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server_address.h"

namespace sessiond {

// Shared by a client's copies.
struct Client::Connection {
  const std::string server;
  const Credentials credentials;
  const std::shared_ptr<grpc::Channel> channel;
  std::stop_source closing;
};

absl::StatusOr<Client> Client::Connect(ConnectOptions options) {
  absl::string_view origin;
  if (const char* server = std::getenv("SESSIOND_SERVER");
      options.server.empty() && server != nullptr) {
    options.server = server;
    origin = "SESSIOND_SERVER: ";
  }
  if (options.server.empty()) options.server = "127.0.0.1:7377";
  absl::StatusOr<ServerAddress> address = ParseServerAddress(options.server);
  if (!address.ok())
    return absl::InvalidArgumentError(absl::StrCat(origin, address.status().message()));
  options.server = std::move(address->target);

  const bool given = options.credentials.has_value();
  if (!given) options.credentials = CredentialsFromEnvironment();
  std::optional<TlsOptions>& tls = options.credentials->tls;
  if (address->tls == true && !tls.has_value()) tls = TlsOptions();
  if (address->tls == false && tls.has_value()) {
    if (given) {
      return absl::InvalidArgumentError(absl::StrCat(
          "The credentials ask for TLS, and http:// for none: write https://", options.server));
    }
    tls = std::nullopt;  // http:// was said, and is nearer.
  }
  auto channel = MakeChannel(options.server, *options.credentials);
  if (!channel.ok()) return channel.status();
  auto connection = std::make_shared<Connection>(
      Connection{options.server, *options.credentials, *std::move(channel), {}});
  if (!options.calls.stop.stop_possible()) options.calls.stop = connection->closing.get_token();
  return Client(std::move(connection), std::move(options.calls));
}

Client::Client(std::shared_ptr<Connection> connection, CallOptions calls)
    : connection_(std::move(connection)),
      sessions_(connection_->channel, calls),
      tasks_(connection_->channel, calls),
      errors_(connection_->channel, calls),
      messages_(connection_->channel, calls),
      artifacts_(connection_->channel, calls),
      workflows_(connection_->channel, calls),
      admin_(connection_->channel, calls) {}

Client Client::WithTimeout(absl::Duration timeout) const {
  CallOptions calls = sessions_.options();
  calls.timeout = timeout;
  return Client(connection_, std::move(calls));
}

std::unique_ptr<Watcher> Client::Watch(v1::WatchSessionsRequest request,
                                       WatchOptions options) const {
  if (!options.prepare) options.prepare = sessions_.options().prepare;
  if (!options.stop.stop_possible()) options.stop = connection_->closing.get_token();
  if (!options.reconnect) {
    options.reconnect = [connection = connection_] {
      return MakeChannel(connection->server, connection->credentials);
    };
  }
  return std::make_unique<Watcher>(connection_->channel, std::move(request), std::move(options));
}

absl::StatusOr<TaskResult> Client::RunTask(TaskSpec spec, const TaskWork& work) const {
  std::stop_source either;
  const auto stop = [&either] { either.request_stop(); };
  const std::stop_callback by_caller(spec.stop, stop);
  const std::stop_callback by_close(connection_->closing.get_token(), stop);
  spec.stop = either.get_token();
  return sessiond::RunTask(tasks_, std::move(spec), work);
}

void Client::Close() const { connection_->closing.request_stop(); }

}  // namespace sessiond
