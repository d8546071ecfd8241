// How a client knows the daemon, and how it says who it is:
//
//   auto channel = sessiond::MakeChannel(
//       "sessiond.example.com:7377",
//       {.tls = sessiond::TlsOptions{.ca_file = "/etc/sessiond/ca.pem"},
//        .token_file = "/var/run/secrets/sessiond/token"});
//   if (!channel.ok()) return channel.status();
//   sessiond::SessionClient client(*channel);
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"

namespace sessiond {

// Files are PEM and are read once, when the channel is made: after a certificate was renewed, make
// a new channel.
struct TlsOptions {
  // Who may vouch for the daemon. Empty: the authorities that the system trusts.
  std::string ca_file = {};
  // The client's own certificate, with the chain above it, and its key, without a passphrase. Both
  // or neither.
  std::string cert_file = {};
  std::string key_file = {};
  // The name that the daemon's certificate must have. Empty: the host of its address.
  std::string server_name = {};
};

struct Credentials {
  // Nothing: plaintext.
  std::optional<TlsOptions> tls = {};

  // The token, sent with every call (`authorization: Bearer …`), comes from one of these, or there
  // is none. Over plaintext it is sent to a unix socket and to the loopback, and nowhere else.
  std::string token = {};
  // A file that holds nothing else. It is read again when it changes, so that tokens rotate, as
  // projected ones of Kubernetes do. While it is missing or holds none, the last one is sent.
  std::string token_file = {};
  // Asked before every call, on a thread of gRPC's: keep what is costly to get. An error fails the
  // call as UNAVAILABLE, with its message, and is retried as such.
  std::function<absl::StatusOr<std::string>()> get_token = {};
};

// As MakeChannel(server), with these credentials. Does not connect yet.
//
// INVALID_ARGUMENT: a file cannot be read or is not what it is named as, a certificate has no key
// or another's, or has expired; the sentence names the file. FAILED_PRECONDITION: a token would
// travel in plaintext over a network.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& server,
                                                           const Credentials& credentials);

// What the environment says: SESSIOND_CA_FILE, SESSIOND_CERT_FILE and SESSIOND_KEY_FILE, any of
// which asks for TLS, and SESSIOND_TOKEN_FILE. A variable that is set but empty counts as not set.
Credentials CredentialsFromEnvironment();

}  // namespace sessiond
