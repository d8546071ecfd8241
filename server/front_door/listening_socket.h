// Sockets that listen, as gRPC would have made them, but ours: gRPC never accepts again once a
// descriptor was missing (grpc/grpc#33656), and counts nobody.
#pragma once

#include <sys/types.h>

#include <ctime>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/address.h"

namespace sessiond::front_door {

// Owns a descriptor, and the file of a unix socket.
class ListeningSocket {
 public:
  explicit ListeningSocket(int fd) : fd_(fd) {}
  ~ListeningSocket() { Close(); }
  ListeningSocket(ListeningSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), file_(other.file_) {}
  ListeningSocket& operator=(ListeningSocket&&) = delete;

  int fd() const { return fd_; }
  // Where it listens, as numbers.
  Address address() const;
  // 0: a unix socket.
  int port() const { return address().port; }
  // Whoever has connected and was not accepted is reset. The socket's file goes, unless another
  // process has put its own in its place.
  void Close();

 private:
  friend absl::StatusOr<std::vector<ListeningSocket>> Listen(const Address& address);
  // Device, inode, which may be used again, and since when.
  using File = std::tuple<dev_t, ino_t, time_t, long>;
  static File FileAt(const std::string& path);

  int fd_;
  std::string path_;
  File file_ = {};
};

// One socket for each address of the host's, with the same port: port 0 takes any that is free on
// all of them. `0.0.0.0` and `::` are both families, where there are both. A unix socket that
// nobody listens at any more is replaced, and made with the rights that the umask leaves.
// UNAVAILABLE: the message says why not, without the address.
absl::StatusOr<std::vector<ListeningSocket>> Listen(const Address& address);

}  // namespace sessiond::front_door
