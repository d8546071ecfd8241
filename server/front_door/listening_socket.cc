#include "server/front_door/listening_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace sessiond::front_door {
namespace {

// What a peer may leave unacknowledged: as long as it may take to answer a ping. Connections
// inherit it.
constexpr unsigned kUserTimeoutMs = 20'000;
// How often a port is tried that is free on one of a host's addresses and taken on another.
constexpr int kPortsTried = 16;

// As bind takes it.
struct SocketAddress {
  sockaddr_storage bytes = {};
  socklen_t size = sizeof(bytes);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&bytes); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
  bool is_unix() const { return bytes.ss_family == AF_UNIX; }

  // REQUIRES: IPv4 or IPv6; the port is at the same offset in both.
  in_port_t& port() { return reinterpret_cast<sockaddr_in*>(&bytes)->sin_port; }

  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.size == b.size && std::memcmp(&a.bytes, &b.bytes, a.size) == 0;
  }
};

absl::StatusOr<std::vector<SocketAddress>> Resolve(const Address& address) {
  const addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (const int failure =
          getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
      failure != 0) {
    return absl::UnavailableError(gai_strerror(failure));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  std::vector<SocketAddress> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    SocketAddress one;
    one.size = std::min<socklen_t>(each->ai_addrlen, sizeof(one.bytes));
    std::memcpy(&one.bytes, each->ai_addr, one.size);
    // /etc/hosts may say the same twice.
    if (std::find(addresses.begin(), addresses.end(), one) == addresses.end())
      addresses.push_back(one);
  }
  return addresses;
}

// These cannot fail on such a socket.
void Configure(int fd, int family) {
  const int on = 1, off = 0;
  // A port is free once its last owner has left. Not SO_REUSEPORT: two daemons would silently share
  // one.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof(kUserTimeoutMs));
}

// `error`: the errno of what failed.
absl::StatusOr<ListeningSocket> ListenOn(const SocketAddress& address, int* error) {
  const auto failed = [error](absl::string_view what) {
    *error = errno;
    return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(*error)));
  };
  const int family = address.bytes.ss_family;
  ListeningSocket listening(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (listening.fd() < 0) return failed("no socket");
  if (!address.is_unix()) Configure(listening.fd(), family);
  if (bind(listening.fd(), address.get(), address.size) != 0) return failed("cannot bind");
  // The kernel cuts it to net.core.somaxconn.
  if (listen(listening.fd(), SOMAXCONN) != 0) return failed("cannot listen");
  return listening;
}

bool IsWildcard(const Address& address) {
  return address.host == "0.0.0.0" || address.host == "::";
}

absl::StatusOr<std::vector<ListeningSocket>> Alone(absl::StatusOr<ListeningSocket> listening) {
  if (!listening.ok()) return listening.status();
  std::vector<ListeningSocket> sockets;
  sockets.push_back(*std::move(listening));
  return sockets;
}

absl::StatusOr<std::vector<ListeningSocket>> ListenOnAny(int port) {
  // Numbers can always be resolved.
  const auto address = [port](const char* any) { return Resolve({any, port}).value().front(); };
  int error = 0;
  auto listening = ListenOn(address("::"), &error);
  if (listening.ok() || error == EADDRINUSE) return Alone(std::move(listening));
  // Without IPv6 in the kernel.
  return Alone(ListenOn(address("0.0.0.0"), &error));
}

// `taken`: whether only the port is wrong.
absl::StatusOr<std::vector<ListeningSocket>> ListenOnAll(std::vector<SocketAddress> addresses,
                                                         bool* taken) {
  std::vector<ListeningSocket> sockets;
  absl::Status trouble;
  for (SocketAddress& address : addresses) {
    if (!sockets.empty()) address.port() = htons(static_cast<in_port_t>(sockets[0].port()));
    int error = 0;
    auto listening = ListenOn(address, &error);
    if (listening.ok()) {
      sockets.push_back(*std::move(listening));
      continue;
    }
    trouble = listening.status();
    *taken = error == EADDRINUSE;
    if (*taken) return trouble;  // Another process would get some of our callers.
  }
  // `localhost` has an IPv6 address also where IPv6 is off.
  if (sockets.empty()) return trouble;
  return sockets;
}

// A socket that nobody listens at is left over from a process that was killed.
void RemoveStale(const SocketAddress& address, const std::string& path) {
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  if (connect(fd, address.get(), address.size) != 0 && errno == ECONNREFUSED) unlink(path.c_str());
  close(fd);
}

SocketAddress UnixAddress(const std::string& path) {
  SocketAddress address;
  auto& of_unix = reinterpret_cast<sockaddr_un&>(address.bytes);
  of_unix = {.sun_family = AF_UNIX};
  path.copy(of_unix.sun_path, sizeof(of_unix.sun_path) - 1);
  address.size = sizeof(of_unix);
  return address;
}

}  // namespace

ListeningSocket::File ListeningSocket::FileAt(const std::string& path) {
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

Address ListeningSocket::address() const {
  if (!path_.empty()) return {.path = path_};
  SocketAddress address;
  char host[NI_MAXHOST];
  if (getsockname(fd_, address.get(), &address.size) != 0 ||
      getnameinfo(address.get(), address.size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST) != 0)
    return {};
  return {.host = host, .port = ntohs(address.port())};
}

void ListeningSocket::Close() {
  if (fd_ < 0) return;
  // First, so that the next one need not find it: with the socket closed, it may replace the file.
  if (!path_.empty() && FileAt(path_) == file_) unlink(path_.c_str());
  close(std::exchange(fd_, -1));
}

absl::StatusOr<std::vector<ListeningSocket>> Listen(const Address& address) {
  if (address.is_unix()) {
    const SocketAddress at = UnixAddress(address.path);
    RemoveStale(at, address.path);
    int error = 0;
    auto listening = ListenOn(at, &error);
    if (!listening.ok()) return listening.status();
    listening->path_ = address.path;
    listening->file_ = ListeningSocket::FileAt(address.path);
    return Alone(std::move(listening));
  }
  if (IsWildcard(address)) return ListenOnAny(address.port);
  auto addresses = Resolve(address);
  if (!addresses.ok()) return addresses.status();
  for (int tries = 0;; ++tries) {
    bool taken = false;
    auto sockets = ListenOnAll(*addresses, &taken);
    if (sockets.ok() || !taken || address.port != 0 || tries == kPortsTried) return sockets;
  }
}

}  // namespace sessiond::front_door
