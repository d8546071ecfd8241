#include "server/config/address.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "state_machine/readable.h"

namespace sessiond {
namespace {

constexpr char kListening[] = "0A";  // TCP_LISTEN in /proc/net/tcp.

// The inode of the socket that listens on `port`, as in /proc/net/tcp and tcp6; empty if there is
// none.
std::string ListenerInode(int port) {
  const std::string suffix = absl::StrFormat(":%04X", port);
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    for (std::string line; std::getline(file, line);) {
      const std::vector<std::string> columns = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (columns.size() > 9 && absl::EndsWith(columns[1], suffix) && columns[3] == kListening)
        return columns[9];
    }
  }
  return "";
}

std::vector<std::string> EntriesOf(const std::string& directory) {
  std::vector<std::string> names;
  DIR* stream = opendir(directory.c_str());
  if (stream == nullptr) return names;
  while (const dirent* entry = readdir(stream)) names.emplace_back(entry->d_name);
  closedir(stream);
  return names;
}

// `sessiond (pid 812)`, or `another process` if /proc does not say.
std::string OwnerOf(int port) {
  const std::string inode = ListenerInode(port);
  const std::string target = absl::StrCat("socket:[", inode, "]");
  for (const std::string& pid : inode.empty() ? std::vector<std::string>() : EntriesOf("/proc")) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string descriptors = absl::StrCat("/proc/", pid, "/fd");
    for (const std::string& descriptor : EntriesOf(descriptors)) {
      char link[64];
      const ssize_t length =
          readlink(absl::StrCat(descriptors, "/", descriptor).c_str(), link, sizeof(link));
      if (length <= 0 || absl::string_view(link, length) != target) continue;
      std::string name;
      std::getline(std::ifstream(absl::StrCat("/proc/", pid, "/comm")), name);
      return absl::StrCat(name, " (pid ", pid, ")");
    }
  }
  return "another process";
}

// How many ports after one in use are tried, until one is free.
constexpr int kPortsTried = 100;

// Listens on the address for a moment. 0: success; else the errno. `failure`: of resolving the
// host.
int TryListen(const Address& address, int* failure) {
  const addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  *failure =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (*failure != 0) return EADDRNOTAVAIL;
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const absl::Cleanup close_fd = [fd] { close(fd); };
  const int reuse = 1;  // As in gRPC: a port is free once its last owner has left.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
  // With SO_REUSEADDR a bind succeeds as long as no socket listens; so listening is what is tried.
  return bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1) == 0 ? 0 : errno;
}

}  // namespace

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("`", Readable(text), "` is neither HOST:PORT nor unix:PATH"));
  if (absl::string_view path = text; absl::ConsumePrefix(&path, "unix:")) {
    // The kernel's limit, with the zero behind it.
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) return bad;
    while (absl::StartsWith(path, "//")) path.remove_prefix(1);  // gRPC's unix:///PATH
    return Address{.path = std::string(path)};
  }
  const std::size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos || colon == 0) return bad;
  absl::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (bracketed != absl::StrContains(host, ':')) return bad;
  int port = 0;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 || port > 65535) return bad;
  return Address{std::string(host), port};
}

absl::StatusOr<std::vector<Address>> ParseAddresses(absl::string_view text) {
  std::vector<Address> addresses;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    auto address = ParseAddress(absl::StripAsciiWhitespace(part));
    if (!address.ok()) return address.status();
    addresses.push_back(*std::move(address));
  }
  return addresses;
}

std::string ToString(const Address& address) {
  if (address.is_unix()) return absl::StrCat("unix:", address.path);
  const bool v6 = absl::StrContains(address.host, ':');
  return absl::StrCat(v6 ? "[" : "", address.host, v6 ? "]" : "", ":", address.port);
}

std::string ToString(const std::vector<Address>& addresses) {
  return absl::StrJoin(addresses, ",", [](std::string* out, const Address& address) {
    out->append(ToString(address));
  });
}

bool IsLoopback(const Address& address) {
  if (address.is_unix()) return true;
  in_addr v4;
  const bool net127 =
      inet_pton(AF_INET, address.host.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
  return net127 || address.host == "localhost" || address.host == "::1";
}

namespace {

// A socket that nobody listens at is left over from a process that was killed; gRPC replaces it.
absl::Status ProbeUnixSocket(const std::string& path, absl::string_view option) {
  const std::string directory = path.find('/') == std::string::npos
                                    ? "."
                                    : path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot make a socket in ", directory, ": ",
                                               std::strerror(errno), "; choose another with ",
                                               option));
  }
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0) return absl::OkStatus();
  if (!S_ISSOCK(status.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, " is no socket: choose another path with ", option));
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return absl::OkStatus();
  const absl::Cleanup close_fd = [fd] { close(fd); };
  sockaddr_un address = {.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const bool stale =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
      errno == ECONNREFUSED;
  if (stale) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("another process listens at ", path,
                                               ": stop it, or choose another path with ", option));
}

}  // namespace

absl::Status ProbeAddress(const Address& address, absl::string_view option, int reserved) {
  if (address.is_unix()) return ProbeUnixSocket(address.path, option);
  int failure = 0;
  const int error = TryListen(address, &failure);
  if (failure != 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", ToString(address), ": ",
                                               gai_strerror(failure),
                                               "; choose another address with ", option));
  }
  if (error == 0) return absl::OkStatus();
  if (error != EADDRINUSE) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", ToString(address), ": ",
                                               std::strerror(error),
                                               "; choose another address with ", option));
  }
  // Port 0, any free one, if none of the next ones is free.
  Address next = {address.host, 0};
  for (int port = address.port + 1; port <= std::min(address.port + kPortsTried, 65535); ++port) {
    if (port == reserved || TryListen({address.host, port}, &failure) != 0) continue;
    next.port = port;
    break;
  }
  return absl::AlreadyExistsError(
      absl::StrCat("port ", address.port, " is in use by ", OwnerOf(address.port),
                   ": stop it, or choose another with ", option, " ", ToString(next)));
}

bool IsOrigin(absl::string_view text) {
  const std::size_t scheme = text.find("://");
  if (scheme == absl::string_view::npos || scheme == 0) return false;
  const absl::string_view host = text.substr(scheme + 3);
  if (host.empty()) return false;
  // Browsers write hosts in ASCII, `xn--…`, and in lower case.
  for (const char c : text) {
    if (!absl::ascii_isgraph(c) || absl::ascii_isupper(c)) return false;
  }
  return !absl::StrContains(host, '/') && !absl::StrContains(host, '*') &&
         !absl::StrContains(host, '@');
}

}  // namespace sessiond
