#include "server/rpc/sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "db/base/steady_time.h"

namespace sessiond::rpc {
namespace {

// The descriptors that are open; of them, those that were opened meanwhile may be missing.
std::vector<int> Descriptors() {
  std::vector<int> descriptors;
  std::error_code unreadable;  // Where there is no /proc, gRPC has to do.
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", unreadable)) {
    int descriptor;
    if (absl::SimpleAtoi(entry.path().filename().string(), &descriptor))
      descriptors.push_back(descriptor);
  }
  return descriptors;
}

int OwnPortOf(int socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return -1;
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return -1;
  // Of both families at the same place.
  return ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port);
}

bool Listens(int socket) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  return getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

}  // namespace

Sockets::Sockets(int port) {
  for (const int descriptor : Descriptors()) {
    if (OwnPortOf(descriptor) != port) continue;
    const int socket = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (socket < 0) continue;
    if (OwnPortOf(socket) != port) {
      close(socket);  // In between it has become another one.
    } else {
      (Listens(socket) ? listening_ : connected_).push_back(socket);
    }
  }
}

Sockets::~Sockets() {
  for (const int socket : listening_) close(socket);
  for (const int socket : connected_) close(socket);
}

void Sockets::StopListening() {
  for (const int socket : listening_) shutdown(socket, SHUT_RDWR);
}

void Sockets::EndWriting() {
  for (const int socket : connected_) shutdown(socket, SHUT_WR);
}

void Sockets::AwaitPeers(absl::Duration patience) {
  const SteadyTime end = SteadyTime::Now() + patience;
  std::vector<pollfd> fds;
  for (const int socket : connected_) fds.push_back({socket, 0, 0});  // Hang-ups are always told.
  while (!fds.empty()) {
    const absl::Duration left = std::max(end - SteadyTime::Now(), absl::ZeroDuration());
    const int told = poll(fds.data(), fds.size(), static_cast<int>(left / absl::Milliseconds(1)));
    if (told == 0) return;
    if (told < 0) continue;  // Interrupted.
    std::erase_if(fds, [](const pollfd& fd) { return fd.revents != 0; });
  }
}

void Sockets::Cut() {
  for (const int socket : connected_) shutdown(socket, SHUT_RDWR);
}

}  // namespace sessiond::rpc
