// The HTTP side as its peers see it: probes, and peers that are slow, many or wrong.
#include "server/http/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <list>
#include <memory>
#include <string>

#include "db/base/steady_time.h"
#include "server/ops/metrics.h"
#include "server/ops/readiness.h"

namespace sessiond {
namespace {

TEST(HttpServer, AnswersProbesAndScrapes) {
  Readiness readiness;
  const auto server =
      http::HttpServer::Start({.listen = {"127.0.0.1", 0},
                               .probes = {.readiness = &readiness,
                                          .metrics = [] { return std::string("up 1\n"); },
                                          .open_api = "{}"}});
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client((*server)->address().host, (*server)->address().port);
  EXPECT_EQ(client.Get("/livez")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_EQ(client.Get("/readyz")->body, "[-] database: never reached: not asked yet\nnot ready\n");
  readiness.Observe(1, SteadyTime::Now());
  EXPECT_EQ(client.Get("/readyz")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->body, "ready\n");
  EXPECT_EQ(client.Get("/readyz?verbose")->body,
            "[+] database: takes changes, schema 1\n[+] connections: enough\n"
            "[+] port: answers\n[+] durability: nothing is to be kept\n"
            "[+] serving: not draining\nready\n");
  EXPECT_EQ(client.Get("/metrics")->body, "up 1\n");
  EXPECT_EQ(client.Get("/nothing")->status, 404);
  EXPECT_EQ(client.Get("/readyz?a=b&verbose=1")->body, client.Get("/readyz?verbose")->body);
  EXPECT_EQ(client.Get("/readyz?verbosely")->body, "ready\n");
  for (const char* page : {"/", "/livez", "/readyz", "/metrics", "/openapi.json"})
    EXPECT_EQ(client.Post(page, "", "text/plain")->status, 405) << page;
  for (const char* no_call :
       {"/SessionService/GetSession", "/nothing", "/sessiond.v1.SessionService/GetSession/"}) {
    const auto answer = client.Post(no_call, "{}", "application/json");
    EXPECT_EQ(answer->status, 404) << no_call;
    EXPECT_THAT(answer->body, testing::HasSubstr("POST /sessiond.v1.SERVICE/METHOD")) << no_call;
  }
  EXPECT_EQ(client.Head("/livez")->status, 200);
  EXPECT_EQ(client.Head("/livez")->body, "");
  EXPECT_EQ(client.Get("/livez", {{"a", std::string(10'000, 'x')}})->status, 431);
}

// Who has no token that counts is asked for one; who may not see everything, is not.
TEST(HttpServer, WhatTellsOfAllSessionsIsForThoseWhoMaySeeThem) {
  Readiness readiness;
  const auto server =
      http::HttpServer::Start({.listen = {"127.0.0.1", 0},
                               .probes = {.readiness = &readiness,
                                          .metrics = [] { return std::string("up 1\n"); },
                                          .asker =
                                              [](const access::Credentials& credentials) {
                                                if (credentials.authorization.empty())
                                                  return http::Asker::kUnknown;
                                                return credentials.authorization.front() == "all"
                                                           ? http::Asker::kSeesEverything
                                                           : http::Asker::kKnown;
                                              },
                                          .open_metrics = [] { return false; },
                                          .open_api = "{}"}});
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client((*server)->address().host, (*server)->address().port);
  const auto status = [&client](const char* path, const char* who) {
    return client.Get(path, {{"Authorization", who}})->status;
  };
  for (const char* path : {"/metrics", "/readyz?verbose", "/openapi.json"}) {
    const auto nobody = client.Get(path);
    EXPECT_EQ(nobody->status, 401) << path;
    EXPECT_EQ(nobody->get_header_value("WWW-Authenticate"), "Bearer") << path;
  }
  for (const char* path : {"/metrics", "/readyz?verbose"}) EXPECT_EQ(status(path, "some"), 403);
  EXPECT_FALSE(client.Get("/metrics", {{"Authorization", "some"}})->has_header("WWW-Authenticate"));
  EXPECT_EQ(status("/openapi.json", "some"), 200);
  EXPECT_EQ(client.Get("/readyz", {{"Authorization", "some"}})->body, "not ready\n");
  EXPECT_EQ(status("/metrics", "all"), 200);
  EXPECT_EQ(status("/readyz?verbose", "all"), 503);  // Nothing was asked yet.
}

// A peer that says of a request what it is told to, and no more.
class Peer {
 public:
  explicit Peer(const Address& address, const char* source = nullptr) {
    if (source != nullptr) {
      sockaddr_in from = {.sin_family = AF_INET, .sin_port = 0, .sin_addr = {}};
      inet_pton(AF_INET, source, &from.sin_addr);
      EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&from), sizeof(from)), 0);
    }
    sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(address.port), .sin_addr = {}};
    inet_pton(AF_INET, address.host.c_str(), &to.sin_addr);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  }
  ~Peer() { close(fd_); }
  Peer(const Peer&) = delete;

  bool Say(absl::string_view text) { return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) > 0; }
  bool HearsSomething() {
    char first;
    return recv(fd_, &first, 1, 0) == 1;
  }
  // All that is answered, until the connection is closed.
  std::string Hear() {
    std::string heard;
    for (char c; recv(fd_, &c, 1, 0) == 1;) heard += c;
    return heard;
  }

 private:
  const int fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

// More than an answer takes, on a machine that has other things to do; less than one that waits
// for slow peers.
constexpr absl::Duration kSoon = absl::Seconds(15);

class HttpAmongPeersTest : public testing::Test {
 protected:
  // How long a probe takes.
  absl::Duration Probe() {
    httplib::Client client(server_->address().host, server_->address().port);
    client.set_read_timeout(60);
    const SteadyTime begin = SteadyTime::Now();
    const auto answer = client.Get("/livez");
    EXPECT_TRUE(answer && answer->status == 200);
    return SteadyTime::Now() - begin;
  }

  Readiness readiness_;
  Metrics metrics_{{}};
  std::unique_ptr<http::HttpServer> server_ =
      http::HttpServer::Start({.listen = {"127.0.0.1", 0},
                               .probes = {.readiness = &readiness_,
                                          .metrics = [] { return std::string(1 << 20, '#'); }},
                               .times = {.first = std::chrono::minutes(1)},
                               .connections_max = 128})
          .value();
};

TEST_F(HttpAmongPeersTest, PeersThatDawdleKeepNobodyWaiting) {
  std::list<Peer> slow;
  for (int i = 0; i < 50; ++i) {
    slow.emplace_back(server_->address()).Say("GET /livez HTTP/1.1\r\nHost: ");
  }
  // And some that ask for much, and read nothing.
  for (int i = 0; i < 20; ++i)
    slow.emplace_back(server_->address()).Say("GET /metrics HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 20; ++i) {
    for (Peer& peer : slow) peer.Say("x");
    EXPECT_LT(Probe(), kSoon);
  }
  // The slow are answered, too, once they have said all.
  ASSERT_TRUE(slow.front().Say("\r\n\r\n"));
  EXPECT_EQ(slow.front().Hear().substr(0, 15), "HTTP/1.1 200 OK");
}

TEST_F(HttpAmongPeersTest, ManyThatOnlyConnectKeepNobodyWaiting) {
  std::list<Peer> idle;
  for (int i = 0; i < 500; ++i) idle.emplace_back(server_->address());
  EXPECT_LT(Probe(), kSoon);
  // Whoever has been there longest made room.
  EXPECT_EQ(idle.front().Hear(), "");
}

TEST_F(HttpAmongPeersTest, OneAddressDoesNotTakeAll) {
  server_ =
      http::HttpServer::Start({.listen = {"127.0.0.1", 0},
                               .probes = {.readiness = &readiness_,
                                          // More than a connection holds unread.
                                          .metrics = [] { return std::string(32 << 20, '#'); }},
                               .times = {.first = std::chrono::minutes(1)},
                               .connections_per_address_max = 3,
                               .metrics = &metrics_,
                               .bytes_max = 1 << 30})
          .value();
  const auto new_peer = [this](const char* source) { return Peer(server_->address(), source); };
  const auto is_served = [](Peer&& peer) {
    peer.Say("GET /livez HTTP/1.1\r\n\r\n");
    return peer.HearsSomething();
  };
  std::list<Peer> busy;
  for (int i = 0; i < 3; ++i) {
    busy.emplace_back(server_->address(), "127.0.0.2").Say("GET /metrics HTTP/1.1\r\n\r\n");
    ASSERT_TRUE(busy.back().HearsSomething());
  }
  EXPECT_FALSE(is_served(new_peer("127.0.0.2")));
  EXPECT_TRUE(is_served(new_peer("127.0.0.3")));
  EXPECT_THAT(metrics_.Text(), testing::HasSubstr(R"(refused_total{reason="address"} 1)"));
  // Whoever rests makes room, for callers of their own address only.
  std::list<Peer> idle;
  for (int i = 0; i < 3; ++i) idle.emplace_back(server_->address(), "127.0.0.4");
  EXPECT_FALSE(is_served(new_peer("127.0.0.2")));
  EXPECT_TRUE(is_served(new_peer("127.0.0.4")));
  EXPECT_EQ(idle.front().Hear(), "");
  idle.back().Say("GET /livez HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(idle.back().HearsSomething());
  EXPECT_THAT(metrics_.Text(), testing::HasSubstr(R"(refused_total{reason="address"} 2)"));
}

TEST_F(HttpAmongPeersTest, AConnectionEndsInTimeWhateverItDoes) {
  server_ = http::HttpServer::Start({.listen = {"127.0.0.1", 0},
                                     .probes = {.readiness = &readiness_},
                                     .times = {.first = std::chrono::milliseconds(300)}})
                .value();
  Peer idle(server_->address());
  Peer trickles(server_->address());
  const SteadyTime begin = SteadyTime::Now();
  while (trickles.Say("x") && SteadyTime::Now() - begin < 2 * kSoon)
    absl::SleepFor(absl::Milliseconds(10));
  EXPECT_LT(SteadyTime::Now() - begin, kSoon);
  EXPECT_EQ(idle.Hear(), "");
}

TEST_F(HttpAmongPeersTest, ItEndsWhoeverIsThere) {
  Peer idle(server_->address());
  Peer unread(server_->address());
  unread.Say("GET /metrics HTTP/1.1\r\n\r\n");
  Probe();  // So that both were seen.
  server_ = nullptr;
  EXPECT_EQ(idle.Hear(), "");
}

TEST_F(HttpAmongPeersTest, WhatIsNoRequestIsToldSo) {
  for (const char* bad : {"GET /\r\n\r\n", "GET / HTTP/2\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n",
                          "\x16\x03\x01\r\n\r\n"}) {
    Peer peer(server_->address());
    peer.Say(bad);
    EXPECT_EQ(peer.Hear().substr(0, 12), "HTTP/1.1 400") << bad;
  }
  Probe();
}

TEST(HttpServer, RefusesAPortThatIsTaken) {
  Readiness readiness;
  const auto first =
      http::HttpServer::Start({.listen = {"127.0.0.1", 0}, .probes = {.readiness = &readiness}});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second =
      http::HttpServer::Start({.listen = (*first)->address(), .probes = {.readiness = &readiness}});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ProbeAddress((*first)->address(), "--http-listen").code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace sessiond
