// Channels: how the daemon is reached, and what every call on them carries.
#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "credential_files.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "sessiond/client.h"
#include "sessiond/credentials.h"

namespace sessiond {
namespace {

enum class Place { kUnixSocket, kAbstractSocket, kLoopback, kNetwork };

grpc::ChannelArguments Arguments(Place place) {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix(absl::StrCat("sessiond-cpp/", Version()));
  // Retries are CallWithRetries': a policy that a resolver brings would multiply them.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // A connection of its own: gRPC would share one among all channels to an address, also one that
  // is dead without anybody having noticed.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // 30 s: finds a dead peer behind a NAT; the daemon accepts a ping a second.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  // No proxy of the environment (http_proxy) leads to this machine, or is to see what is only for
  // it.
  if (place != Place::kNetwork) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

bool IsLoopback(absl::string_view address) {
  std::string host(address);
  if (absl::StartsWith(host, "[")) {
    host = host.substr(1, host.find(']') - 1);
  } else if (const std::size_t colon = host.rfind(':');
             colon != host.npos && host.find(':') == colon) {
    host.resize(colon);
  }
  // What localhost resolves to is looked at once more by gRPC, when the connection is made.
  if (absl::EqualsIgnoreCase(host, "localhost")) return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

Place PlaceOf(absl::string_view server) {
  if (absl::StartsWith(server, "unix:")) return Place::kUnixSocket;
  if (absl::StartsWith(server, "unix-abstract:")) return Place::kAbstractSocket;
  for (const absl::string_view scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&server, scheme)) break;
  }
  const std::vector<absl::string_view> addresses = absl::StrSplit(server, ',');
  return std::all_of(addresses.begin(), addresses.end(), IsLoopback) ? Place::kLoopback
                                                                     : Place::kNetwork;
}

using GetToken = std::function<absl::StatusOr<std::string>()>;

// Puts the token into every call.
class BearerToken final : public grpc::MetadataCredentialsPlugin {
 public:
  BearerToken(GetToken get_token, bool blocks)
      : get_token_(std::move(get_token)), blocks_(blocks) {}

  bool IsBlocking() const override { return blocks_; }
  const char* GetType() const override { return "bearer token"; }
  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    const auto token = get_token_();
    if (!token.ok()) {
      return {grpc::StatusCode::UNAVAILABLE, std::string(token.status().message())};
    }
    metadata->emplace("authorization", absl::StrCat("Bearer ", *token));
    return grpc::Status::OK;
  }
  grpc::string DebugString() override { return "a bearer token"; }

 private:
  const GetToken get_token_;
  const bool blocks_;
};

// The plugin for the token, or null if there is none; all that can be known to be wrong is said.
absl::StatusOr<std::unique_ptr<BearerToken>> TokenOf(const Credentials& credentials) {
  const int sources =
      !credentials.token.empty() + !credentials.token_file.empty() + bool(credentials.get_token);
  if (sources > 1) {
    return absl::InvalidArgumentError(
        "A token comes from one of token, token_file and get_token, and several are given");
  }
  if (credentials.get_token) {
    auto checked = [get = credentials.get_token]() -> absl::StatusOr<std::string> {
      auto token = get();
      if (!token.ok()) return token;
      if (absl::Status status = CheckToken("What get_token returned", *token); !status.ok()) {
        return status;
      }
      return token;
    };
    return std::make_unique<BearerToken>(std::move(checked), /*blocks=*/true);
  }
  if (!credentials.token_file.empty()) {
    auto file = std::make_shared<TokenFile>(credentials.token_file);
    if (const auto token = file->Get(); !token.ok()) return token.status();
    return std::make_unique<BearerToken>([file] { return file->Get(); }, /*blocks=*/false);
  }
  if (credentials.token.empty()) return nullptr;
  if (absl::Status status = CheckToken("The token", credentials.token); !status.ok()) {
    return status;
  }
  return std::make_unique<BearerToken>([token = credentials.token] { return token; },
                                       /*blocks=*/false);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> TlsOf(const TlsOptions& tls) {
  grpc::SslCredentialsOptions options;
  if (!tls.ca_file.empty()) {
    auto authorities = ReadAuthorities(tls.ca_file);
    if (!authorities.ok()) return authorities.status();
    options.pem_root_certs = *std::move(authorities);
  }
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError(
        tls.key_file.empty()
            ? absl::StrCat("The certificate file ", tls.cert_file, " is given without its key file")
            : absl::StrCat("The key file ", tls.key_file,
                           " is given without its certificate file"));
  }
  if (!tls.cert_file.empty()) {
    auto pair = ReadKeyPair(tls.cert_file, tls.key_file);
    if (!pair.ok()) return pair.status();
    options.pem_cert_chain = std::move(pair->chain);
    options.pem_private_key = std::move(pair->key);
  }
  return grpc::SslCredentials(options);
}

// An empty variable counts as unset.
std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::string_view Version() { return SESSIOND_VERSION; }

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server) {
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(),
                                   Arguments(PlaceOf(server)));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& server,
                                                           const Credentials& credentials) {
  const Place place = PlaceOf(server);
  auto token = TokenOf(credentials);
  if (!token.ok()) return token.status();
  if (*token != nullptr && !credentials.tls.has_value()) {
    if (place == Place::kAbstractSocket) {
      return absl::FailedPreconditionError(
          "Tokens are not sent to abstract sockets, which anybody on the machine can open: use "
          "TLS, or a socket with a path (unix:PATH)");
    }
    if (place == Place::kNetwork) {
      return absl::FailedPreconditionError(
          absl::StrCat("The token is not sent to ", server,
                       " in plaintext, because whoever is on the way could read and use it: use "
                       "TLS, or reach the daemon through the loopback or a unix socket"));
    }
  }

  grpc::ChannelArguments arguments = Arguments(place);
  std::shared_ptr<grpc::ChannelCredentials> channel_credentials;
  if (credentials.tls.has_value()) {
    auto tls = TlsOf(*credentials.tls);
    if (!tls.ok()) return tls.status();
    channel_credentials = *std::move(tls);
    if (const std::string& name = credentials.tls->server_name; !name.empty()) {
      arguments.SetSslTargetNameOverride(name);
    }
  } else if (*token == nullptr) {
    channel_credentials = grpc::InsecureChannelCredentials();
  } else {
    // The same on the wire, but gRPC lets tokens through, and breaks off a connection that turns
    // out to lead elsewhere.
    channel_credentials = grpc::experimental::LocalCredentials(
        place == Place::kUnixSocket ? grpc_local_connect_type::UDS
                                    : grpc_local_connect_type::LOCAL_TCP);
  }
  if (*token != nullptr) {
    channel_credentials = grpc::CompositeChannelCredentials(
        channel_credentials,
        grpc::experimental::MetadataCredentialsFromPlugin(
            *std::move(token),
            credentials.tls.has_value() ? GRPC_PRIVACY_AND_INTEGRITY : GRPC_SECURITY_NONE));
  }
  return grpc::CreateCustomChannel(server, channel_credentials, arguments);
}

Credentials CredentialsFromEnvironment() {
  Credentials credentials;
  TlsOptions tls;
  tls.ca_file = Variable("SESSIOND_CA_FILE");
  tls.cert_file = Variable("SESSIOND_CERT_FILE");
  tls.key_file = Variable("SESSIOND_KEY_FILE");
  if (!tls.ca_file.empty() || !tls.cert_file.empty() || !tls.key_file.empty()) {
    credentials.tls = std::move(tls);
  }
  credentials.token_file = Variable("SESSIOND_TOKEN_FILE");
  return credentials;
}

}  // namespace sessiond
