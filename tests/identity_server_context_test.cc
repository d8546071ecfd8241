// TLS without gRPC, as the HTTP port has it: OpenSSL on both ends of a pair of sockets.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "server/identity/certificate_identity.h"
#include "server/identity/server_context.h"
#include "test_ca.h"

namespace sessiond::identity {
namespace {

using OwnedSsl = Owned<SSL, SSL_free>;

// A client that has a certificate, or none.
OwnedSslContext ClientContext(const TestCa& ca, const Issued& own) {
  OwnedSslContext context(SSL_CTX_new(TLS_client_method()));
  const OwnedBio ca_bio = ReadFrom(ca.cert_pem());
  const OwnedX509 authority(PEM_read_bio_X509(ca_bio.get(), nullptr, nullptr, nullptr));
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), authority.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (own.cert_pem.empty()) return context;
  const OwnedBio cert_bio = ReadFrom(own.cert_pem), key_bio = ReadFrom(own.key_pem);
  const OwnedX509 cert(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr));
  const OwnedKey key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  EXPECT_EQ(SSL_CTX_use_certificate(context.get(), cert.get()), 1);
  EXPECT_EQ(SSL_CTX_use_PrivateKey(context.get(), key.get()), 1);
  return context;
}

// Who the server takes the client for: an identity, `nobody`, `no certificate`, or empty, where the
// handshake fails.
std::string Handshake(SSL_CTX* server, SSL_CTX* client) {
  int pair[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  std::thread connecting([&] {
    const OwnedSsl ssl(SSL_new(client));
    SSL_set_fd(ssl.get(), pair[1]);
    char byte;
    if (SSL_connect(ssl.get()) == 1) SSL_read(ssl.get(), &byte, 1);
    ERR_clear_error();
    shutdown(pair[1], SHUT_RDWR);
  });
  std::string who;
  const OwnedSsl ssl(SSL_new(server));
  SSL_set_fd(ssl.get(), pair[0]);
  if (SSL_accept(ssl.get()) == 1) {
    const X509* const certificate = SSL_get0_peer_certificate(ssl.get());
    who = certificate == nullptr ? "no certificate"
                                 : CertificateIdentity(*certificate).value_or("nobody");
    EXPECT_EQ(SSL_write(ssl.get(), "!", 1), 1);
  }
  ERR_clear_error();
  shutdown(pair[0], SHUT_RDWR);
  connecting.join();
  for (const int fd : pair) close(fd);
  return who;
}

TlsMaterial Material(const Issued& server, const std::string& client_ca) {
  return {.cert_chain_pem = server.cert_pem, .key_pem = server.key_pem, .client_ca_pem = client_ca};
}

TEST(ServerContext, LetsInWhomGrpcDoes) {
  const TestCa ca("authority"), foreign("authority"), below = ca.Below("below");
  const Certified worker = {.names = {"URI:spiffe://trust/worker"}};
  Certified expired = worker;
  expired.not_after = absl::Now() - absl::Minutes(1);
  const std::string id = "spiffe://trust/worker", none = "no certificate", refused = "";
  const struct {
    const char* who;
    Issued own;
    // With kNone, kOptional and kRequired.
    std::string answers[3];
  } rows[] = {
      {"no certificate", {}, {none, none, refused}},
      {"the right one", ca.Issue(worker), {none, id, id}},
      {"two names", ca.Issue({.names = {"DNS:a", "DNS:b"}}), {none, "nobody", "nobody"}},
      {"a foreign authority's", foreign.Issue(worker), {none, refused, refused}},
      {"an expired one", ca.Issue(expired), {none, refused, refused}},
  };
  // A chain of two.
  Issued server = below.IssueServer();
  server.cert_pem += below.cert_pem();
  const ClientAuth modes[] = {ClientAuth::kNone, ClientAuth::kOptional, ClientAuth::kRequired};
  for (std::size_t mode = 0; mode < 3; ++mode) {
    const absl::StatusOr<OwnedSslContext> context =
        NewServerContext(Material(server, ca.cert_pem()), modes[mode]);
    ASSERT_TRUE(context.ok()) << context.status();
    EXPECT_EQ(ERR_peek_error(), 0UL);
    for (const auto& row : rows) {
      EXPECT_EQ(Handshake(context->get(), ClientContext(ca, row.own).get()), row.answers[mode])
          << row.who << ", mode " << mode;
    }
  }
}

TEST(ServerContext, WhatLoadTlsWouldNotReturnIsRefused) {
  const TestCa ca("authority");
  const Issued server = ca.IssueServer(), other = ca.IssueServer();
  const TlsMaterial good = Material(server, ca.cert_pem());
  EXPECT_TRUE(NewServerContext(good, ClientAuth::kRequired).ok());
  EXPECT_TRUE(NewServerContext(Material(server, ""), ClientAuth::kNone).ok());
  EXPECT_FALSE(NewServerContext(Material(server, ""), ClientAuth::kOptional).ok());
  EXPECT_FALSE(NewServerContext(Material(server, "x"), ClientAuth::kRequired).ok());
  EXPECT_FALSE(NewServerContext(TlsMaterial(), ClientAuth::kNone).ok());
  EXPECT_FALSE(
      NewServerContext(Material({.cert_pem = server.cert_pem, .key_pem = other.key_pem}, ""),
                       ClientAuth::kNone)
          .ok());
}

}  // namespace
}  // namespace sessiond::identity
