#include "server/own_call.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace sessiond {
namespace {

// What can be connected to: a wildcard cannot.
Address Connectable(Address address) {
  if (address.host == "0.0.0.0" || address.host == "::") address.host = "127.0.0.1";
  return address;
}

absl::Status CheckHealth(const Address& address, absl::Duration time_max) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto health = grpc::health::v1::Health::NewStub(
      grpc::CreateCustomChannel(ToString(address), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  context.set_deadline(
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                   gpr_time_from_micros(absl::ToInt64Microseconds(time_max), GPR_TIMESPAN)));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("liveness");
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = health->Check(&context, request, &response);
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

absl::Status Failed(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

absl::Status ShakeHands(const Address& address, absl::Duration time_max) {
  const addrinfo hints = {.ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (const int failure =
          getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
      failure != 0) {
    return absl::UnavailableError(gai_strerror(failure));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Failed("no socket");
  const absl::Cleanup close_fd = [fd] { close(fd); };
  const timeval limit = absl::ToTimeval(time_max);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) return Failed("cannot connect");

  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> tls(SSL_new(context.get()), &SSL_free);
  constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(tls.get(), kHttp2, sizeof(kHttp2));
  SSL_set_fd(tls.get(), fd);
  // The server has shown its certificate: what it makes of ours, which is none, does not matter.
  if (SSL_connect(tls.get()) == 1 || SSL_get0_peer_certificate(tls.get()) != nullptr) {
    ERR_clear_error();
    return absl::OkStatus();
  }
  ERR_clear_error();
  return absl::UnavailableError("no TLS handshake");
}

}  // namespace

absl::Status CallOneself(const Address& listening, bool with_tls, absl::Duration time_max) {
  const Address address = Connectable(listening);
  return with_tls && !address.is_unix() ? ShakeHands(address, time_max)
                                        : CheckHealth(address, time_max);
}

}  // namespace sessiond
