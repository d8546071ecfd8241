#include "server/front_door/connections.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace sessiond::front_door {
namespace {

// 0: no socket.
ino_t InodeOf(int fd) {
  struct stat status = {};
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

// Of less nobody's memory grows.
constexpr uint64_t kLittle = 16 << 10;

// How many bytes have come; nothing: it is no TCP connection, or none any more.
std::optional<uint64_t> ReceivedBy(int fd) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  return info.tcpi_bytes_received;
}

// Ends a connection at once, and throws away what has come and was not read.
void Abort(int fd) {
  const sockaddr nobody = {.sa_family = AF_UNSPEC, .sa_data = {}};
  if (connect(fd, &nobody, sizeof(nobody)) != 0) shutdown(fd, SHUT_RDWR);
}

}  // namespace

std::string AddressOf(const sockaddr_storage& peer) {
  const auto bytes = [](const void* from, std::size_t count) {
    return std::string(static_cast<const char*>(from), count);
  };
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    return bytes(&v4.sin_addr, sizeof(v4.sin_addr));
  }
  if (peer.ss_family != AF_INET6) return "unix";
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr;
  return IN6_IS_ADDR_V4MAPPED(&v6) ? bytes(&v6.s6_addr[12], 4) : bytes(&v6, 8);
}

Connections::Outcome Connections::Add(int fd, absl::string_view address) {
  const absl::MutexLock lock(&mutex_);
  // Whoever had the number before is gone.
  if (const auto before = connections_.find(fd); before != connections_.end()) Forget(before);
  Outcome outcome = Outcome::kAdded;
  if (!Fits(address, &outcome) && SteadyTime::Now() >= look_due_) {
    Look();
    look_due_ = SteadyTime::Now() + look_period_;
  }
  if (!Fits(address, &outcome)) return outcome;
  connections_.emplace(fd, Connection{InodeOf(fd), std::string(address), 0});
  ++by_address_[address];
  return Outcome::kAdded;
}

bool Connections::Fits(absl::string_view address, Outcome* outcome) const {
  const auto of_address = by_address_.find(address);
  if (connections_.size() >= limits_.in_all) {
    *outcome = Outcome::kTooMany;
  } else if (of_address != by_address_.end() && of_address->second >= limits_.per_address) {
    *outcome = Outcome::kTooManyOfAddress;
  } else {
    return true;
  }
  return false;
}

std::size_t Connections::Count() {
  const absl::MutexLock lock(&mutex_);
  Look();
  return connections_.size();
}

void Connections::Look() {
  for (auto each = connections_.begin(); each != connections_.end();) {
    const auto connection = each++;
    if (InodeOf(connection->first) != connection->second.inode) Forget(connection);
  }
}

void Connections::Forget(ByDescriptor::iterator connection) {
  const auto of_address = by_address_.find(connection->second.address);
  if (--of_address->second == 0) by_address_.erase(of_address);
  connections_.erase(connection);
}

void Connections::End(int fd, const Connection& connection, void (*how)(int fd)) {
  // A duplicate, so that the number cannot come to mean another socket between the look and the
  // act. If no more files can be opened, it is gRPC's own.
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  const int same = copy < 0 ? fd : copy;
  if (InodeOf(same) == connection.inode) how(same);
  if (copy >= 0) close(copy);
}

void Connections::EndAll(void (*how)(int fd)) {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [fd, connection] : connections_) End(fd, connection, how);
}

void Connections::NoteReceived() {
  const absl::MutexLock lock(&mutex_);
  Look();
  Note();
}

void Connections::Note() {
  for (auto& [fd, connection] : connections_) connection.received = ReceivedBy(fd).value_or(0);
}

int Connections::EndHeaviest() {
  const absl::MutexLock lock(&mutex_);
  Look();
  uint64_t all = 0;
  std::vector<std::pair<uint64_t, int>> counted;
  std::vector<int> uncounted;
  for (const auto& [fd, connection] : connections_) {
    const std::optional<uint64_t> now = ReceivedBy(fd);
    if (now.has_value()) {
      counted.emplace_back(*now - std::min(connection.received, *now), fd);
      all += counted.back().first;
    } else {
      uncounted.push_back(fd);
    }
  }
  std::vector<int> heaviest;
  if (all < kLittle) {
    heaviest = std::move(uncounted);
  } else {
    std::sort(counted.begin(), counted.end(), std::greater<>());
    for (uint64_t theirs = 0, i = 0; theirs * 2 < all; ++i) {
      theirs += counted[i].first;
      heaviest.push_back(counted[i].second);
    }
  }
  for (const int fd : heaviest) End(fd, connections_.at(fd), Abort);
  if (!heaviest.empty()) Note();
  return static_cast<int>(heaviest.size());
}

void Connections::AwaitPeers(absl::Duration patience) {
  const SteadyTime end = SteadyTime::Now() + patience;
  std::vector<pollfd> fds;
  {
    const absl::MutexLock lock(&mutex_);
    Look();
    // Hang-ups are always reported. A number that gRPC closes meanwhile is reported, too, or is
    // another's, which is only polled.
    for (const auto& [fd, connection] : connections_) fds.push_back({fd, 0, 0});
  }
  while (!fds.empty()) {
    const absl::Duration left = std::max(end - SteadyTime::Now(), absl::ZeroDuration());
    const int ready = poll(fds.data(), fds.size(), static_cast<int>(left / absl::Milliseconds(1)));
    if (ready == 0) return;
    if (ready < 0) continue;  // Interrupted.
    std::erase_if(fds, [](const pollfd& fd) { return fd.revents != 0; });
  }
}

}  // namespace sessiond::front_door
