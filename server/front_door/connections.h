// The connections that were let in: how many there are, from where, and how a drain ends them.
//
// gRPC owns their descriptors, and tells nobody when it closes one. To be told by the kernel takes
// a descriptor for each (a duplicate, which would also keep the connection half open), or a relay
// that copies every byte. So they are looked at: a descriptor that no longer is the socket with the
// inode that was accepted was closed, whatever its number means now. That is done when somebody
// would be refused, and when somebody wants to know how many there are: 0.6 microseconds for each
// connection, and nothing for a call.
//
// A drain ends connections itself, because gRPC's Shutdown loses calls: as soon as it begins it
// accepts no more streams, and notifies peers by a GOAWAY, which is on its way while they still
// send. A call that meets it is CANCELLED, or, if it comes a moment later, gets no answer at all.
// When a connection ends instead, the peer knows the result of every call on it: UNAVAILABLE, try
// elsewhere. So connections end first, and Shutdown finds no peers to mislead.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond::front_door {

struct ConnectionLimits {
  std::size_t in_all = 10'000;
  std::size_t per_address = 1'000;
};

// What counts as one address: an IPv4 address, however it is written; the /64 of an IPv6 address,
// of which a host has all; all unix sockets.
std::string AddressOf(const sockaddr_storage& peer);

// Thread-safe.
class Connections {
 public:
  enum class Outcome { kAdded, kTooMany, kTooManyOfAddress };

  // They are looked at at most once in `look_period`, while connections are refused.
  explicit Connections(ConnectionLimits limits,
                       absl::Duration look_period = absl::Milliseconds(100))
      : limits_(limits), look_period_(look_period) {}

  // A connection that was just accepted. Unless it is added, it is the caller's to close.
  Outcome Add(int fd, absl::string_view address);
  // Those that are open now.
  std::size_t Count();
  const ConnectionLimits& limits() const { return limits_; }

  // Notes how much has come of each connection until now.
  void NoteReceived();
  // Ends those few that together have sent at least half of what has come since, throws away what
  // nobody has read of it, and notes again. If little has come, it ends those of unix sockets, of
  // which the kernel does not count. Returns how many.
  int EndHeaviest();

  // Sends the end of the stream: peers read it after everything that was written.
  void EndWriting() {
    EndAll([](int fd) { shutdown(fd, SHUT_WR); });
  }
  // Waits until the peers have closed, too, for `patience` at most.
  void AwaitPeers(absl::Duration patience);
  // Closes what is left, for gRPC as well.
  void Cut() {
    EndAll([](int fd) { shutdown(fd, SHUT_RDWR); });
  }

 private:
  struct Connection {
    ino_t inode;
    std::string address;
    // Bytes, when it was noted.
    uint64_t received;
  };
  using ByDescriptor = absl::flat_hash_map<int, Connection>;

  bool Fits(absl::string_view address, Outcome* outcome) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Note() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets those that were closed.
  void Look() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(ByDescriptor::iterator connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void End(int fd, const Connection& connection, void (*how)(int fd));
  void EndAll(void (*how)(int fd));

  const ConnectionLimits limits_;
  const absl::Duration look_period_;
  absl::Mutex mutex_;
  ByDescriptor connections_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::size_t> by_address_ ABSL_GUARDED_BY(mutex_);
  SteadyTime look_due_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond::front_door
