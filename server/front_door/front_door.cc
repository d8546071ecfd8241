#include "server/front_door/front_door.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/ops/log.h"

namespace sessiond::front_door {
namespace {

// Descriptors for all but these connections: the database's, HTTP's, files, and what libraries
// open.
constexpr std::size_t kOtherDescriptors = 256;
// The last ones are not for connections: HTTP has to say what is wrong, the database's connections
// and files are opened again. Numbers are given lowest first, so that one's number says how many
// are left.
constexpr int kSpareDescriptors = 16;
// How many are let in at a socket before the others have their turn.
constexpr int kAcceptsPerTurn = 64;
// How long nobody is accepted when there is not even a descriptor to turn somebody away with.
constexpr int kPauseMs = 100;
constexpr char kLogger[] = "front_door";

std::string TextOf(const sockaddr_storage& peer) {
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(peer).sin_addr, text, sizeof(text));
  } else if (peer.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr, text, sizeof(text));
  } else {
    return "unix sockets";
  }
  return text;
}

// Whether it was reset before it was let in.
bool HasLeft(int connection) {
  sockaddr_storage peer = {};
  socklen_t size = sizeof(peer);
  return getpeername(connection, reinterpret_cast<sockaddr*>(&peer), &size) != 0;
}

// As it is now: it may be set while the daemon runs.
int DescriptorsMax() {
  constexpr rlim_t kMax = std::numeric_limits<int>::max();
  rlimit files = {};
  return getrlimit(RLIMIT_NOFILE, &files) == 0 ? static_cast<int>(std::min(files.rlim_cur, kMax))
                                               : static_cast<int>(kMax);
}

bool IsExhaustion(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

ConnectionLimits WhatFits(ConnectionLimits limits) {
  const std::size_t all = DescriptorsMax();
  // With so few, half.
  const std::size_t fit = std::max(all / 2, all - std::min(all, kOtherDescriptors));
  return {std::min(limits.in_all, fit), limits.per_address};
}

FrontDoor::FrontDoor(std::vector<Entrance> entrances, ConnectionLimits limits, Metrics& metrics)
    : metrics_(metrics),
      connections_(limits),
      entrances_(std::move(entrances)),
      ended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Reserve();
  thread_ = std::thread([this] { Run(); });
}

void FrontDoor::Close() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  while (write(ended_, &one, sizeof(one)) < 0 && errno == EINTR) continue;
  thread_.join();
  for (Entrance& entrance : entrances_) {
    for (ListeningSocket& socket : entrance.sockets) socket.Close();
  }
  close(ended_);
  if (reserve_ >= 0) close(reserve_);
}

absl::Status FrontDoor::LetsIn() {
  if (no_descriptor_)
    return absl::ResourceExhaustedError(
        "no file descriptor is left for connections: raise LimitNOFILE");
  const std::size_t most = connections_.limits().in_all;
  if (connections_.Count() < most) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(most,
                   " connections are open, as many as there may be: raise --connections-max, "
                   "and LimitNOFILE with it"));
}

void FrontDoor::Run() {
  struct Waiting {
    const Entrance* entrance;
    int listening;
  };
  std::vector<Waiting> waiting;
  std::vector<pollfd> fds = {{ended_, POLLIN, 0}};
  for (const Entrance& entrance : entrances_) {
    for (const ListeningSocket& socket : entrance.sockets) {
      waiting.push_back({&entrance, socket.fd()});
      fds.push_back({socket.fd(), POLLIN, 0});
    }
  }
  for (;;) {
    // Without a reserve it would only be told again and again that somebody waits.
    const bool pauses = reserve_ < 0 && !Reserve();
    if (poll(fds.data(), pauses ? 1 : fds.size(), pauses ? kPauseMs : -1) < 0) continue;
    if (fds[0].revents != 0) return;
    if (pauses) continue;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (fds[i + 1].revents != 0) LetIn(*waiting[i].entrance, waiting[i].listening);
    }
  }
}

void FrontDoor::LetIn(const Entrance& entrance, int listening) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage peer = {};
    socklen_t size = sizeof(peer);
    const int fd =
        accept4(listening, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && fd >= DescriptorsMax() - kSpareDescriptors) {
      TellNoDescriptor(absl::StrCat("fewer than ", kSpareDescriptors, " are left"));
      metrics_.ConnectionRefused(RefusedConnection::kNoDescriptor);
      close(fd);
    } else if (fd >= 0) {
      if (no_descriptor_.exchange(false) && std::exchange(logged_turning_away_, false))
        Log(LogLevel::kInfo, kLogger, "connections are accepted again");
      Admit(entrance, listening, fd, peer);
    } else if (IsExhaustion(errno)) {
      return TurnAway(listening);
    } else if (errno == EAGAIN) {
      return;
    }
    // Anything else was this one's: it has left, or is unreachable.
  }
}

void FrontDoor::Admit(const Entrance& entrance, int listening, int connection,
                      const sockaddr_storage& peer) {
  // gRPC would log an error for each.
  if (HasLeft(connection)) {
    close(connection);
    return;
  }
  const std::string address = AddressOf(peer);
  switch (connections_.Add(connection, address)) {
    case Connections::Outcome::kAdded:
      metrics_.ConnectionAccepted();
      entrance.admit(listening, connection);
      return;
    case Connections::Outcome::kTooMany:
      metrics_.ConnectionRefused(RefusedConnection::kTooMany);
      too_many_warning_.WarnOfRefusal(
          kLogger, "connections are refused: there are too many",
          absl::StrCat(connections_.limits().in_all, " are open (--connections-max)"));
      break;
    case Connections::Outcome::kTooManyOfAddress:
      ++refused_of_address_;
      metrics_.ConnectionRefused(RefusedConnection::kTooManyOfAddress);
      per_address_warning_.WarnOfRefusal(
          kLogger, "connections are refused: there are too many from one address",
          absl::StrCat(TextOf(peer), " has ", connections_.limits().per_address,
                       " (--connections-per-address-max)"));
      break;
  }
  close(connection);
}

void FrontDoor::TurnAway(int listening) {
  TellNoDescriptor(std::strerror(errno));
  close(std::exchange(reserve_, -1));
  const int fd = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0) {
    metrics_.ConnectionRefused(RefusedConnection::kNoDescriptor);
    close(fd);
  }
  Reserve();
}

void FrontDoor::TellNoDescriptor(const std::string& why) {
  no_descriptor_ = true;
  if (no_descriptor_warning_.WarnOfRefusal(
          kLogger, "connections are refused: no descriptor is left for them",
          absl::StrCat(why, "; raise LimitNOFILE"))) {
    logged_turning_away_ = true;
  }
}

bool FrontDoor::Reserve() {
  reserve_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return reserve_ >= 0;
}

}  // namespace sessiond::front_door
