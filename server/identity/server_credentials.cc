#include "server/identity/server_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "db/base/steady_time.h"

namespace sessiond::identity {
namespace {

// How gRPC names the ports of its external acceptors.
constexpr char kAcceptorPrefix[] = "external:";

// How long a port's other threads have to leave the few instructions in which gRPC (1.51, and later
// ones: its issue 36693) reads the old certificate's TLS context without holding a lock or a
// reference. Only threads that accept on the same port at the same moment are concerned; there are
// none behind an external acceptor, whose mutex is held meanwhile.
constexpr std::chrono::milliseconds kGrace(10);

struct Options {
  std::shared_ptr<const CurrentTls> tls;
  ClientAuth client_auth;
  absl::Duration ticket_lifetime;
};

// One port: gRPC asks it for what is new since it asked last.
class Port {
 public:
  Port(Options options, bool accepts_one_by_one)
      : options_(std::move(options)), accepts_one_by_one_(accepts_one_by_one) {}

  // gRPC's calls come one by one, in its mutex.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* port, grpc_ssl_server_certificate_config** config) {
    return static_cast<Port*>(port)->FetchNew(config);
  }
  static void Destroy(void* port) { delete static_cast<Port*>(port); }

 private:
  grpc_ssl_certificate_config_reload_status FetchNew(grpc_ssl_server_certificate_config** config) {
    std::shared_ptr<const TlsMaterial> material = options_.tls->Get();
    const SteadyTime now = SteadyTime::Now();
    if (material == served_ && now < served_since_ + options_.ticket_lifetime)
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const bool asks = options_.client_auth != ClientAuth::kNone;
    if (asks && material->client_ca_pem.empty()) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    if (served_ != nullptr && !accepts_one_by_one_) std::this_thread::sleep_for(kGrace);
    const grpc_ssl_pem_key_cert_pair pair = {.private_key = material->key_pem.c_str(),
                                             .cert_chain = material->cert_chain_pem.c_str()};
    // gRPC asserts that there are authorities, also where it asks nobody for a certificate, and
    // then looks at none.
    const std::string& authorities = asks ? material->client_ca_pem : material->cert_chain_pem;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    served_ = std::move(material);
    // gRPC draws the key of its tickets when it is given something new.
    served_since_ = now;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const Options options_;
  const bool accepts_one_by_one_;
  // What this port had last, and since when.
  std::shared_ptr<const TlsMaterial> served_;
  SteadyTime served_since_;
};

grpc_ssl_client_certificate_request_type RequestType(ClientAuth client_auth) {
  switch (client_auth) {
    case ClientAuth::kNone:
      return GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
    case ClientAuth::kOptional:
      return GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY;
    case ClientAuth::kRequired:
      break;
  }
  return GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
}

class Credentials final : public grpc::ServerCredentials {
 public:
  explicit Credentials(Options options) : options_(std::move(options)) {}

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    std::abort();  // The header says that there are none.
  }

 private:
  // Credentials of its own for every port: each has to be told of every change, and gRPC asks in
  // the name of the credentials, not of the port.
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    auto* const port = new Port(options_, absl::StartsWith(address, kAcceptorPrefix));
    grpc_server_credentials* const credentials = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            RequestType(options_.client_auth), Port::Fetch, port));
    // Without a `process`, a processor is only what is destroyed together with the credentials:
    // after the port's last handshake.
    grpc_server_credentials_set_auth_metadata_processor(
        credentials, {.process = nullptr, .destroy = Port::Destroy, .state = port});
    const int bound = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);
    return bound;
  }

  const Options options_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(std::shared_ptr<const CurrentTls> tls,
                                                              ClientAuth client_auth,
                                                              absl::Duration ticket_lifetime) {
  return std::make_shared<Credentials>(Options{
      .tls = std::move(tls), .client_auth = client_auth, .ticket_lifetime = ticket_lifetime});
}

}  // namespace sessiond::identity
