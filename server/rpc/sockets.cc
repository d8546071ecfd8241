#include "server/rpc/sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "db/base/steady_time.h"

namespace sessiond::rpc {
namespace {

// Local port and address of an IPv4 or IPv6 socket, the path of a unix socket; empty for anything
// else. For a wildcard address only the port.
std::string AddressOf(int socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  if (address.ss_family == AF_UNIX) return reinterpret_cast<sockaddr_un&>(address).sun_path;
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return "";
  const auto bytes = [](const auto& field) {
    return std::string(reinterpret_cast<const char*>(&field), sizeof(field));
  };
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  // At the same offset in both families.
  const std::string port = bytes(v4.sin_port);
  const std::string host = address.ss_family == AF_INET ? bytes(v4.sin_addr) : bytes(v6.sin6_addr);
  const bool wildcard = host.find_first_not_of('\0') == std::string::npos;
  return wildcard ? port : port + host;
}

bool Listens(int socket) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  return getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

}  // namespace

Sockets::Sockets(const std::vector<int>& ports, const std::vector<std::string>& paths)
    : directory_(opendir("/proc/self/fd")), addresses_(paths.begin(), paths.end()) {
  for (const int port : ports) {
    if (port == 0) continue;
    const uint16_t bytes = htons(static_cast<uint16_t>(port));
    const absl::string_view wildcard(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
    for (const int descriptor : Descriptors()) {
      const std::string address = AddressOf(descriptor);
      if (absl::StartsWith(address, wildcard) && Listens(descriptor)) addresses_.insert(address);
    }
  }
}

Sockets::~Sockets() {
  LetGo();
  if (directory_ != nullptr) closedir(directory_);
}

// Descriptors that are open; those opened during the call may be missing.
std::vector<int> Sockets::Descriptors() {
  std::vector<int> descriptors;
  if (directory_ == nullptr) return descriptors;
  rewinddir(directory_);
  while (const dirent* entry = readdir(directory_)) {
    int descriptor;
    if (absl::SimpleAtoi(entry->d_name, &descriptor)) descriptors.push_back(descriptor);
  }
  return descriptors;
}

bool Sockets::Fits(int descriptor) const {
  const std::string address = AddressOf(descriptor);
  if (address.empty()) return false;
  return addresses_.contains(address) || addresses_.contains(address.substr(0, sizeof(uint16_t)));
}

bool Sockets::Find() {
  LetGo();
  for (const int descriptor : Descriptors()) {
    if (!Fits(descriptor)) continue;
    const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && !Fits(copy)) {
      close(copy);  // The number was reused in between.
      continue;
    }
    const Socket socket = {copy < 0 ? descriptor : copy, copy >= 0};
    (Listens(socket.number) ? listening_ : connected_).push_back(socket);
  }
  return !addresses_.empty();
}

void Sockets::ShutDown(const std::vector<Socket>& sockets, int how) const {
  for (const Socket& socket : sockets) {
    if (socket.ours || Fits(socket.number)) shutdown(socket.number, how);
  }
}

void Sockets::LetGo() {
  for (const auto* sockets : {&listening_, &connected_}) {
    for (const Socket& socket : *sockets) {
      if (socket.ours) close(socket.number);
    }
  }
  listening_.clear();
  connected_.clear();
}

void Sockets::StopListening() { ShutDown(listening_, SHUT_RDWR); }
void Sockets::EndWriting() { ShutDown(connected_, SHUT_WR); }
void Sockets::Cut() { ShutDown(connected_, SHUT_RDWR); }

void Sockets::AwaitPeers(absl::Duration patience) {
  const SteadyTime end = SteadyTime::Now() + patience;
  std::vector<pollfd> fds;
  for (const Socket& socket : connected_)
    fds.push_back({socket.number, 0, 0});  // Hang-ups are always reported.
  while (!fds.empty()) {
    const absl::Duration left = std::max(end - SteadyTime::Now(), absl::ZeroDuration());
    const int told = poll(fds.data(), fds.size(), static_cast<int>(left / absl::Milliseconds(1)));
    if (told == 0) return;
    if (told < 0) continue;  // Interrupted.
    std::erase_if(fds, [](const pollfd& fd) { return fd.revents != 0; });
  }
}

}  // namespace sessiond::rpc
