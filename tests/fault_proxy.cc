#include "tests/fault_proxy.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace sessiond {
namespace {

// Of one direction: more than any trip of a test sends, and bounded.
constexpr std::size_t kBytesMax = 4 << 20;

void Must(bool done, const char* what) {
  if (done) return;
  std::perror(what);
  std::abort();
}

void NonBlocking(int fd) { Must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl"); }

}  // namespace

FaultProxy::FaultProxy(std::string server) : server_(std::move(server)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  Must(bind(listener_, any, size) == 0 && listen(listener_, 128) == 0, "listen");
  Must(getsockname(listener_, any, &size) == 0, "getsockname");
  port_ = ntohs(address.sin_port);
  Must(pipe2(wake_, O_NONBLOCK | O_CLOEXEC) == 0, "pipe2");
  thread_ = std::thread([this] { Run(); });
}

FaultProxy::~FaultProxy() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
  for (Link& link : links_) Close(&link, /*reset=*/true);
  for (const int fd : {listener_, wake_[0], wake_[1]}) close(fd);
}

void FaultProxy::Silence() {
  const std::lock_guard lock(mutex_);
  for (Link& link : links_) link.silent = true;
}

void FaultProxy::HangNew(bool hang) {
  const std::lock_guard lock(mutex_);
  hang_new_ = hang;
}

void FaultProxy::Delay(absl::Duration delay) {
  const std::lock_guard lock(mutex_);
  delay_ = delay;
}

void FaultProxy::Throttle(int bytes_per_second) {
  const std::lock_guard lock(mutex_);
  bytes_per_second_ = bytes_per_second;
  // What waits here is what has arrived, as the sender sees it.
  const int bytes = 1 << 16;
  Must(setsockopt(listener_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0, "setsockopt");
}

void FaultProxy::Cut() {
  {
    const std::lock_guard lock(mutex_);
    for (Link& link : links_) Close(&link, /*reset=*/true);
    links_.clear();
  }
  Wake();
}

int FaultProxy::open() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::count_if(links_.begin(), links_.end(), [](const Link& link) {
    return !link.silent && link.server >= 0;
  }));
}

void FaultProxy::Wake() { Must(write(wake_[1], "", 1) == 1 || errno == EAGAIN, "write"); }

void FaultProxy::Close(Link* link, bool reset) {
  for (const int fd : {link->client, link->server}) {
    if (fd < 0) continue;
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (reset) setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
  }
}

void FaultProxy::Accept() {
  const int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return;
  Link link{.client = client};
  if (hang_new_) {
    link.silent = true;
  } else {
    link.server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, server_.c_str(), sizeof address.sun_path - 1);
    if (connect(link.server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      return Close(&link, /*reset=*/true);  // Nobody listens.
    NonBlocking(link.server);
    link.up = {.from = link.client, .to = link.server, .bytes_per_second = bytes_per_second_};
    link.down = {.from = link.server, .to = link.client};
  }
  links_.push_back(std::move(link));
}

bool FaultProxy::Forward(Pipe* pipe, SteadyTime now) {
  char buffer[1 << 16];
  while (!pipe->ended && pipe->bytes < kBytesMax && now >= pipe->next_read) {
    const ssize_t size = read(pipe->from, buffer, sizeof buffer);
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0) return false;
    if (size == 0) {
      pipe->ended = true;
      break;
    }
    pipe->pieces.push_back({std::string(buffer, static_cast<std::size_t>(size)), now + delay_});
    pipe->bytes += static_cast<std::size_t>(size);
    if (pipe->bytes_per_second > 0)
      pipe->next_read = now + absl::Seconds(static_cast<double>(size) / pipe->bytes_per_second);
  }
  while (!pipe->pieces.empty() && pipe->pieces.front().due <= now) {
    std::string& bytes = pipe->pieces.front().bytes;
    const ssize_t size = send(pipe->to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0) return false;
    pipe->bytes -= static_cast<std::size_t>(size);
    bytes.erase(0, static_cast<std::size_t>(size));
    if (bytes.empty()) pipe->pieces.pop_front();
  }
  return !pipe->ended || !pipe->pieces.empty();
}

void FaultProxy::Run() {
  for (;;) {
    std::vector<pollfd> fds = {{listener_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
    int millis = -1;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      for (const Link& link : links_) {
        if (link.silent) continue;
        for (const Pipe* pipe : {&link.up, &link.down}) {
          const SteadyTime now = SteadyTime::Now();
          const auto wake = [&](absl::Duration left) {
            const int wait = static_cast<int>(absl::ToInt64Milliseconds(left)) + 1;
            millis = millis < 0 ? wait : std::min(millis, wait);
          };
          const bool reads = !pipe->ended && now >= pipe->next_read;
          fds.push_back({pipe->from, static_cast<short>(reads ? POLLIN : 0), 0});
          if (!pipe->ended && !reads) wake(pipe->next_read - now);
          if (pipe->pieces.empty()) continue;
          const absl::Duration left = pipe->pieces.front().due - now;
          if (left > absl::ZeroDuration()) {
            wake(left);
          } else {
            fds.push_back({pipe->to, POLLOUT, 0});
          }
        }
      }
    }
    poll(fds.data(), fds.size(), millis);
    char unused[64];
    while (read(wake_[0], unused, sizeof unused) > 0) continue;

    const std::lock_guard lock(mutex_);
    if (fds[0].revents != 0) Accept();
    const SteadyTime now = SteadyTime::Now();
    for (auto link = links_.begin(); link != links_.end();) {
      // Both: what one side said last still goes to the other.
      const bool over =
          !link->silent && (!Forward(&link->up, now) | !Forward(&link->down, now)) != 0;
      if (over) Close(&*link, /*reset=*/false);
      link = over ? links_.erase(link) : std::next(link);
    }
  }
}

}  // namespace sessiond
