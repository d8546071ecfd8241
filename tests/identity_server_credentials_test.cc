// A real gRPC server with TLS, real clients, and certificates that change meanwhile.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpc/grpc_security_constants.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/identity/certificate_identity.h"
#include "server/identity/openssl.h"
#include "server/identity/server_credentials.h"
#include "test_ca.h"

namespace sessiond::identity {
namespace {

// Answers every call with who has called: an identity, `nobody` or `no certificate`.
class WhoAmI final : public grpc::CallbackGenericService {
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const grpc::CallbackServerContext& context) {
      const absl::StatusOr<std::string> identity = CertificateIdentity(*context.auth_context());
      const std::string answer = identity.ok()                         ? *identity
                                 : absl::IsNotFound(identity.status()) ? "no certificate"
                                                                       : "nobody";
      const grpc::Slice slice(answer);
      answer_ = grpc::ByteBuffer(&slice, 1);
      StartRead(&request_);
    }
    void OnReadDone(bool ok) override {
      if (ok) StartWriteAndFinish(&answer_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer request_, answer_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new Reactor(*context);
  }
};

struct Answer {
  grpc::Status status;
  std::string identity;
  // Of the server that answered.
  std::string server_cert;
};

// What a client has: the authorities that it believes, and perhaps a certificate.
struct Client {
  std::string roots;
  Issued own = {};

  // On a connection of its own.
  Answer Call(int port) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetSslTargetNameOverride("localhost");
    const auto channel =
        grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port),
                                  grpc::SslCredentials({.pem_root_certs = roots,
                                                        .pem_private_key = own.key_pem,
                                                        .pem_cert_chain = own.cert_pem}),
                                  arguments);
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Slice slice("?");
    grpc::ByteBuffer request(&slice, 1), reply;
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    Answer answer;
    stub.UnaryCall(&context, "/any.Service/Any", grpc::StubOptions(), &request, &reply,
                   [&](grpc::Status status) {
                     const std::lock_guard<std::mutex> lock(mutex);
                     answer.status = std::move(status);
                     done = true;
                     changed.notify_one();
                   });
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return done; });
    if (!answer.status.ok()) return answer;
    grpc::Slice whole;
    if (reply.DumpToSingleSlice(&whole).ok())
      answer.identity.assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
    for (const grpc::string_ref& pem :
         context.auth_context()->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME)) {
      answer.server_cert.assign(pem.data(), pem.size());
    }
    return answer;
  }
};

TlsMaterial Material(const Issued& server, const std::string& client_ca) {
  return {.cert_chain_pem = server.cert_pem,
          .key_pem = server.key_pem,
          .client_ca_pem = client_ca,
          .not_after = absl::InfiniteFuture()};
}

class Host {
 public:
  Host(std::shared_ptr<const CurrentTls> tls, ClientAuth client_auth, int ports = 1,
       absl::Duration ticket_lifetime = absl::Hours(1))
      : ports_(static_cast<std::size_t>(ports)) {
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    const auto credentials = TlsServerCredentials(std::move(tls), client_auth, ticket_lifetime);
    for (int& port : ports_) builder.AddListeningPort("127.0.0.1:0", credentials, &port);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~Host() {
    if (server_ != nullptr) server_->Shutdown();
  }

  bool is_up() const { return server_ != nullptr; }
  int port(std::size_t i = 0) const { return ports_[i]; }

 private:
  WhoAmI service_;
  std::vector<int> ports_;
  std::unique_ptr<grpc::Server> server_;
};

TEST(ServerCredentials, LetInWhomTheyShould) {
  const TestCa ca("authority"), foreign("authority"), below = ca.Below("below");
  const Certified worker = {.names = {"URI:spiffe://trust/worker"}};
  const auto with = [&](const Issued& own) { return Client{.roots = ca.cert_pem(), .own = own}; };
  Certified expired = worker, early = worker;
  expired.not_after = absl::Now() - absl::Minutes(1);
  early.not_before = absl::Now() + absl::Minutes(30);
  Issued through = below.Issue(worker);
  through.cert_pem += below.cert_pem();
  const std::string let_in = "spiffe://trust/worker", none = "no certificate", refused = "";
  const struct {
    const char* who;
    Client client;
    // With kNone, kOptional and kRequired: the identity, or empty where the handshake fails.
    std::string answers[3];
  } rows[] = {
      {"no certificate", with({}), {none, none, refused}},
      {"the right one", with(ca.Issue(worker)), {none, let_in, let_in}},
      {"one through an authority below", with(through), {none, let_in, let_in}},
      {"a DNS name",
       with(ca.Issue({.names = {"DNS:a.example"}})),
       {none, "dns:a.example", "dns:a.example"}},
      {"two names", with(ca.Issue({.names = {"DNS:a", "DNS:b"}})), {none, "nobody", "nobody"}},
      {"a common name", with(ca.Issue({.common_name = "root"})), {none, "nobody", "nobody"}},
      {"two SPIFFE IDs",
       with(ca.Issue({.names = {"URI:spiffe://t/a", "URI:spiffe://t/b"}})),
       {none, "nobody", "nobody"}},
      {"a foreign authority's", with(foreign.Issue(worker)), {none, refused, refused}},
      {"an expired one", with(ca.Issue(expired)), {none, refused, refused}},
      {"one that is not valid yet", with(ca.Issue(early)), {none, refused, refused}},
      {"one issued by a client", with(TestCa("self").Issue(worker)), {none, refused, refused}},
      {"a client that believes others",
       {.roots = foreign.cert_pem(), .own = ca.Issue(worker)},
       {refused, refused, refused}},
  };
  const ClientAuth modes[] = {ClientAuth::kNone, ClientAuth::kOptional, ClientAuth::kRequired};
  for (std::size_t mode = 0; mode < 3; ++mode) {
    const Host host(std::make_shared<CurrentTls>(Material(ca.IssueServer(), ca.cert_pem())),
                    modes[mode]);
    ASSERT_TRUE(host.is_up());
    for (const auto& row : rows) {
      const Answer answer = row.client.Call(host.port());
      EXPECT_EQ(answer.identity, row.answers[mode]) << row.who << ", mode " << mode;
      EXPECT_EQ(answer.status.error_code(),
                row.answers[mode].empty() ? grpc::StatusCode::UNAVAILABLE : grpc::StatusCode::OK)
          << row.who << ", mode " << mode << ": " << answer.status.error_message();
    }
  }
}

TEST(ServerCredentials, PlaintextIsNotAnswered) {
  const TestCa ca("authority");
  const Host host(std::make_shared<CurrentTls>(Material(ca.IssueServer(), "")), ClientAuth::kNone);
  const Answer answer = Client{.roots = ca.cert_pem()}.Call(host.port());
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  const int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET,
                         .sin_port = htons(static_cast<uint16_t>(host.port())),
                         .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  ASSERT_EQ(connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  ASSERT_EQ(send(peer, preface.data(), preface.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(preface.size()));
  // A TLS alert at most, then the end.
  std::string heard;
  for (char byte; recv(peer, &byte, 1, 0) == 1;) heard.push_back(byte);
  EXPECT_LE(heard.size(), 7U);
  close(peer);
}

TEST(ServerCredentials, ServeEveryPortWhatTheSourceHoldsNow) {
  const TestCa ca("authority"), next("next");
  const auto tls = std::make_shared<CurrentTls>(Material(ca.IssueServer(), ""));
  const Host host(tls, ClientAuth::kNone, /*ports=*/2);
  const Client client{.roots = ca.cert_pem() + next.cert_pem()};
  for (int i = 0; i < 3; ++i) {
    const Issued server = (i % 2 == 0 ? next : ca).IssueServer();
    tls->Set(Material(server, ""));
    for (const std::size_t port : {0, 1, 0}) {
      const Answer answer = client.Call(host.port(port));
      EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
      EXPECT_EQ(answer.server_cert, server.cert_pem) << "port " << port << ", change " << i;
    }
  }
}

TEST(ServerCredentials, WithoutClientCasNobodyIsLetInByMistake) {
  const TestCa ca("authority");
  const Issued server = ca.IssueServer();
  const Client client{.roots = ca.cert_pem(), .own = ca.Issue({.names = {"DNS:a"}})};
  for (const ClientAuth mode : {ClientAuth::kOptional, ClientAuth::kRequired}) {
    EXPECT_FALSE(Host(std::make_shared<CurrentTls>(Material(server, "")), mode).is_up());
    const auto tls = std::make_shared<CurrentTls>(Material(server, ca.cert_pem()));
    const Host host(tls, mode);
    ASSERT_TRUE(host.is_up());
    tls->Set(Material(ca.IssueServer(), ""));
    const Answer answer = client.Call(host.port());
    EXPECT_EQ(answer.identity, "dns:a");
    EXPECT_EQ(answer.server_cert, server.cert_pem);
    EXPECT_EQ(Client{.roots = ca.cert_pem()}.Call(host.port()).status.ok(),
              mode == ClientAuth::kOptional);
  }
}

TEST(ServerCredentials, AWithdrawnClientCaCountsFromTheNextConnectionOn) {
  const TestCa ca("authority"), old("old");
  const Issued server = ca.IssueServer();
  const auto tls = std::make_shared<CurrentTls>(Material(server, old.cert_pem()));
  const Host host(tls, ClientAuth::kRequired);
  const Client client{.roots = ca.cert_pem(), .own = old.Issue({.names = {"DNS:a"}})};
  EXPECT_EQ(client.Call(host.port()).identity, "dns:a");
  tls->Set(Material(server, ca.cert_pem()));
  EXPECT_EQ(client.Call(host.port()).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

// A client that keeps its TLS session, which gRPC's would only do when told to.
class KeepsSessions {
 public:
  explicit KeepsSessions(const Issued& own) : context_(SSL_CTX_new(TLS_client_method())) {
    const OwnedBio cert_bio = ReadFrom(own.cert_pem), key_bio = ReadFrom(own.key_pem);
    const OwnedX509 cert(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr));
    const OwnedKey key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
    SSL_CTX_use_certificate(context_.get(), cert.get());
    SSL_CTX_use_PrivateKey(context_.get(), key.get());
    // With 1.2 the ticket is part of the handshake; with 1.3 it comes when it comes.
    SSL_CTX_set_max_proto_version(context_.get(), TLS1_2_VERSION);
  }

  // Whether the server took up the session of the last connection.
  bool Connect(int port) {
    const int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {.sin_family = AF_INET,
                           .sin_port = htons(static_cast<uint16_t>(port)),
                           .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const Owned<SSL, SSL_free> ssl(SSL_new(context_.get()));
    constexpr unsigned char kAlpn[] = {2, 'h', '2'};
    SSL_set_alpn_protos(ssl.get(), kAlpn, sizeof(kAlpn));
    SSL_set_fd(ssl.get(), peer);
    if (session_ != nullptr) SSL_set_session(ssl.get(), session_.get());
    EXPECT_EQ(SSL_connect(ssl.get()), 1) << TakeReason();
    session_.reset(SSL_get1_session(ssl.get()));
    const bool reused = SSL_session_reused(ssl.get()) == 1;
    SSL_shutdown(ssl.get());  // Else OpenSSL takes the session for a bad one.
    close(peer);
    return reused;
  }

 private:
  const OwnedSslContext context_;
  Owned<SSL_SESSION, SSL_SESSION_free> session_;
};

TEST(ServerCredentials, TicketsAreWorthNothingAfterTheirLifetimeOrAChange) {
  const TestCa ca("authority");
  const Issued worker = ca.Issue({.names = {"DNS:a"}});
  const TlsMaterial material = Material(ca.IssueServer(), ca.cert_pem());
  const auto tls = std::make_shared<CurrentTls>(material);
  const Host host(tls, ClientAuth::kRequired);
  KeepsSessions client(worker);
  EXPECT_FALSE(client.Connect(host.port()));
  EXPECT_TRUE(client.Connect(host.port()));
  tls->Set(material);
  EXPECT_FALSE(client.Connect(host.port()));
  const Host forgetful(tls, ClientAuth::kRequired, 1, absl::ZeroDuration());
  KeepsSessions another(worker);
  EXPECT_FALSE(another.Connect(forgetful.port()));
  EXPECT_FALSE(another.Connect(forgetful.port()));
}

// Three authorities take turns. At any moment the server believes those of this turn and the next,
// and its own certificate is of this turn; a client's is of the next, and it believes all. So each
// turn changes certificate, key and client CAs, and no handshake may fail.
class Turns {
 public:
  static constexpr int kClients = 4;

  explicit Turns(std::shared_ptr<CurrentTls> tls) : tls_(std::move(tls)) {
    for (const TestCa& authority : authorities_) {
      roots_ += authority.cert_pem();
      for (int i = 0; i < kClients; ++i)
        clients_.push_back(authority.Issue({.names = {absl::StrCat("URI:spiffe://t/", i)}}));
    }
    Begin(0);
  }

  void Run(int port, int turns) {
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i)
      clients.emplace_back([this, i, port] { KeepCalling(i, port); });
    for (int turn = 1; turn <= turns; ++turn) {
      std::unique_lock<std::mutex> lock(mutex_);
      called_.wait(lock, [&] {
        return std::all_of(seen_.begin(), seen_.end(), [&](int seen) { return seen >= turn - 1; });
      });
      Begin(turn);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    for (std::thread& client : clients) client.join();
  }

  int calls() const { return calls_; }
  const std::vector<std::string>& troubles() const { return troubles_; }

 private:
  const TestCa& Authority(int turn) const { return authorities_[turn % 3]; }

  // REQUIRES: in the mutex, or alone.
  void Begin(int turn) {
    const Issued server = Authority(turn).IssueServer();
    server_certs_.push_back(server.cert_pem);
    tls_->Set(Material(server, Authority(turn).cert_pem() + Authority(turn + 1).cert_pem()));
    turn_ = turn;
  }

  void KeepCalling(int index, int port) {
    for (;;) {
      int turn = 0;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (over_) return;
        turn = turn_;
      }
      const Client client = {
          .roots = roots_,
          .own = clients_[static_cast<std::size_t>((turn + 1) % 3 * kClients + index)]};
      const Answer answer = client.Call(port);
      const std::lock_guard<std::mutex> lock(mutex_);
      ++calls_;
      if (!answer.status.ok()) {
        troubles_.push_back(answer.status.error_message());
      } else if (answer.identity != absl::StrCat("spiffe://t/", index)) {
        troubles_.push_back(absl::StrCat("identity: ", answer.identity));
      } else if (std::find(server_certs_.begin() + turn, server_certs_.end(), answer.server_cert) ==
                 server_certs_.end()) {
        troubles_.push_back("an old certificate was served");
      }
      seen_[static_cast<std::size_t>(index)] = turn;
      called_.notify_one();
    }
  }

  const std::vector<TestCa> authorities_ = {TestCa("a"), TestCa("b"), TestCa("c")};
  const std::shared_ptr<CurrentTls> tls_;
  // Of all three.
  std::string roots_;
  // By authority, then by client.
  std::vector<Issued> clients_;

  std::mutex mutex_;
  std::condition_variable called_;
  int turn_ = 0;
  bool over_ = false;
  std::vector<std::string> server_certs_;
  // By client: the turn in which its last call that has ended had begun.
  std::vector<int> seen_ = std::vector<int>(kClients, -1);
  int calls_ = 0;
  std::vector<std::string> troubles_;
};

TEST(ServerCredentials, AHundredChangesUnderLoadFailNoHandshake) {
  const auto tls = std::make_shared<CurrentTls>(TlsMaterial());
  Turns turns(tls);
  const Host host(tls, ClientAuth::kRequired);
  ASSERT_TRUE(host.is_up());
  turns.Run(host.port(), 100);
  EXPECT_GE(turns.calls(), 400);
  EXPECT_THAT(turns.troubles(), ::testing::IsEmpty());
  std::cout << turns.calls() << " calls, each on a connection of its own\n";
}

TEST(ServerCredentials, AnAcceptorsConnectionsAreServedAsWell) {
  const auto tls = std::make_shared<CurrentTls>(TlsMaterial());
  Turns turns(tls);
  WhoAmI service;
  grpc::ServerBuilder builder;
  const auto acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      TlsServerCredentials(tls, ClientAuth::kRequired));
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listening, any, size), 0);
  ASSERT_EQ(listen(listening, 16), 0);
  ASSERT_EQ(getsockname(listening, any, &size), 0);
  const auto accept_all = [&] {
    for (;;) {
      const int fd = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return;
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.listener_fd = listening;
      connection.fd = fd;
      acceptor->HandleNewConnection(&connection);
    }
  };
  // Several, as nothing forbids it.
  std::vector<std::thread> accepting;
  for (int i = 0; i < 3; ++i) accepting.emplace_back(accept_all);
  turns.Run(ntohs(address.sin_port), 30);
  EXPECT_THAT(turns.troubles(), ::testing::IsEmpty());
  shutdown(listening, SHUT_RDWR);
  for (std::thread& thread : accepting) thread.join();
  close(listening);
  server->Shutdown();
}

}  // namespace
}  // namespace sessiond::identity
