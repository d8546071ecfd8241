#include "server/ops/admin_http.h"

#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/ops/http_request.h"

namespace sessiond {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kText[] = "text/plain; charset=utf-8";

// More than probes and scrapers ever need, and next to nothing to keep: who comes then takes the
// place of whoever has been there longest.
constexpr std::size_t kConnectionsMax = 128;
// Half of them, so that everybody is served at least once before others take his place.
constexpr int kAcceptsPerTurn = kConnectionsMax / 2;
constexpr std::size_t kHeadBytesMax = 8192;
// While there is no descriptor left for another connection.
constexpr std::chrono::milliseconds kAcceptPause{100};

// A socket that listens, and does not block.
absl::StatusOr<int> Listen(Address& address) {
  const auto failed = [&address](absl::string_view why) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", ToString(address), ": ", why));
  };
  const addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int unknown =
      getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (unknown != 0) return failed(gai_strerror(unknown));
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed(std::strerror(errno));
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage bound;
  socklen_t size = sizeof(bound);
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const absl::Status status = failed(std::strerror(errno));
    close(fd);
    return status;
  }
  // Of both families at the same place.
  address.port = ntohs(reinterpret_cast<sockaddr_in&>(bound).sin_port);
  return fd;
}

std::string ReadinessPage(const Readiness& readiness, bool verbose, bool* ready) {
  const SteadyTime now = SteadyTime::Now();
  *ready = readiness.ready(now);
  std::string text;
  for (const Readiness::Check& check : readiness.Checks(now)) {
    if (verbose || !check.ok) {
      absl::StrAppend(&text, check.ok ? "[+] " : "[-] ", check.name, ": ", check.detail, "\n");
    }
  }
  absl::StrAppend(&text, *ready ? "ready\n" : "not ready\n");
  return text;
}

std::string Answer(const AdminHttp::Options& options, absl::string_view head) {
  const HttpRequest request = ParseHttpRequest(head);
  const auto text = [&request](int status, absl::string_view body) {
    return HttpAnswer(status, kText, body, request.head_only);
  };
  if (request.refusal == 400) return text(400, "This is no HTTP/1 request.\n");
  if (request.refusal == 405) return text(405, "Nothing can be changed here: use GET.\n");
  if (request.path == "/")
    return text(200, "sessiond " SESSIOND_VERSION "\n/livez\n/readyz?verbose\n/metrics\n");
  if (request.path == "/livez") return text(200, "alive\n");
  if (request.path == "/readyz") {
    bool ready = false;
    const std::string page = ReadinessPage(*options.readiness, request.Has("verbose"), &ready);
    return text(ready ? 200 : 503, page);
  }
  if (request.path == "/metrics") {
    return HttpAnswer(200, "text/plain; version=0.0.4; charset=utf-8", options.metrics(),
                      request.head_only);
  }
  return text(404, "There is nothing here. See /\n");
}

}  // namespace

// One thread and one poll over the door and everybody who came in, each of whom asks once:
//
//   reads a head ──▶ writes the answer ──▶ reads on until the peer has closed, so that the answer
//                                          is not lost on its way
class AdminHttp::Server {
 public:
  Server(Options options, Address address, int door)
      : options_(std::move(options)),
        address_(std::move(address)),
        door_(door),
        ending_(eventfd(0, EFD_CLOEXEC)),
        thread_([this] { Run(); }) {}

  ~Server() {
    eventfd_write(ending_, 1);
    thread_.join();
    for (const Peer& peer : peers_) close(peer.fd);
    close(door_);
    close(ending_);
  }

  const Address& address() const { return address_; }

 private:
  struct Peer {
    int fd;
    Clock::time_point end;
    std::string head = {};
    // What is left of it to be written.
    std::string answer = {};
    bool answered = false;
  };

  void Run() {
    std::vector<pollfd> fds;
    for (;;) {
      const auto now = Clock::now();
      // In the order in which they came, and so of their ends.
      while (!peers_.empty() && peers_.front().end <= now) Drop(peers_.begin());
      fds.assign({{ending_, POLLIN, 0}, {now < accept_again_ ? -1 : door_, POLLIN, 0}});
      for (const Peer& peer : peers_)
        fds.push_back({peer.fd, static_cast<short>(peer.answer.empty() ? POLLIN : POLLOUT), 0});
      poll(fds.data(), fds.size(), Timeout(now));
      if (fds[0].revents != 0) return;
      auto peer = peers_.begin();
      for (std::size_t i = 2; i < fds.size(); ++i) {
        const auto at = peer++;
        if (fds[i].revents != 0 && !Serve(*at)) Drop(at);
      }
      if (fds[1].revents != 0) Accept();
    }
  }

  int Timeout(Clock::time_point now) const {
    auto wake = peers_.empty() ? Clock::time_point::max() : peers_.front().end;
    if (now < accept_again_) wake = std::min(wake, accept_again_);
    if (wake == Clock::time_point::max()) return -1;
    return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wake - now).count());
  }

  void Accept() {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = accept4(door_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0 && errno == ECONNABORTED) continue;
      if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR) accept_again_ = Clock::now() + kAcceptPause;
        return;
      }
      if (peers_.size() == kConnectionsMax) Drop(peers_.begin());
      peers_.push_back({.fd = fd, .end = Clock::now() + options_.time_max});
    }
  }

  // False: it is over.
  bool Serve(Peer& peer) {
    if (!peer.answer.empty()) return Write(peer);
    char buffer[4096];
    const ssize_t size = recv(peer.fd, buffer, sizeof(buffer), 0);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    if (size == 0) return false;
    if (peer.answered) return true;
    peer.head.append(buffer, size);
    if (peer.head.size() > kHeadBytesMax) {
      peer.answer = HttpAnswer(431, kText, "This is more than anybody has to say here.\n", false);
    } else if (IsWhole(peer.head)) {
      peer.answer = Answer(options_, peer.head);
    } else {
      return true;
    }
    return Write(peer);
  }

  bool Write(Peer& peer) {
    const ssize_t size = send(peer.fd, peer.answer.data(), peer.answer.size(), MSG_NOSIGNAL);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    peer.answer.erase(0, size);
    if (!peer.answer.empty()) return true;
    peer.answered = true;
    shutdown(peer.fd, SHUT_WR);
    return true;
  }

  void Drop(std::list<Peer>::iterator peer) {
    close(peer->fd);
    peers_.erase(peer);
  }

  const Options options_;
  const Address address_;
  const int door_;
  const int ending_;

  // Its thread only.
  std::list<Peer> peers_;
  Clock::time_point accept_again_ = {};

  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(Options options) {
  Address address = options.listen;
  const absl::StatusOr<int> door = Listen(address);
  if (!door.ok()) return door.status();
  return std::unique_ptr<AdminHttp>(
      new AdminHttp(std::make_unique<Server>(std::move(options), std::move(address), *door)));
}

AdminHttp::AdminHttp(std::unique_ptr<Server> server) : server_(std::move(server)) {}

AdminHttp::~AdminHttp() = default;

const Address& AdminHttp::address() const { return server_->address(); }

}  // namespace sessiond
