// The sockets of the gRPC server, which gRPC does not expose, and which a drain has to end itself.
//
// gRPC's own Shutdown loses calls: as soon as it begins it accepts no more streams, and notifies
// peers by a GOAWAY, which is on its way while they still send. A call that meets it is CANCELLED,
// or, if it comes a moment later, gets no answer at all. When a connection ends instead, the peer
// knows the result of every call on it: UNAVAILABLE, try elsewhere. So connections end first, and
// Shutdown finds no peers to mislead.
#pragma once

#include <dirent.h>

#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace sessiond::rpc {

class Sockets {
 public:
  // The sockets that listen on these ports (0: on none) or at these paths at this moment, and the
  // connections they accept. Reserves what is needed to find them when no more files can be opened.
  explicit Sockets(const std::vector<int>& ports, const std::vector<std::string>& paths = {});
  // Closes its duplicates; gRPC still has its own.
  ~Sockets();
  Sockets(const Sockets&) = delete;

  // Finds them, as they are now. False: they cannot be found, and gRPC's Shutdown has to suffice.
  bool Find();

  // Accepts no more connections: new ones are refused, and the clients go elsewhere.
  void StopListening();
  // Sends the end of the stream: peers read it after everything that was written.
  void EndWriting();
  // Waits until the peers have closed, too, for `patience` at most.
  void AwaitPeers(absl::Duration patience);
  // Closes what is left, for gRPC as well.
  void Cut();

 private:
  struct Socket {
    int number;
    // A duplicate, so that the number cannot come to mean another socket. If no more files can be
    // opened, it is gRPC's own, which is checked again before use.
    bool ours;
  };
  std::vector<int> Descriptors();
  // Whether it has one of the addresses.
  bool Fits(int descriptor) const;
  void ShutDown(const std::vector<Socket>& sockets, int how) const;
  void LetGo();

  DIR* const directory_;
  // The addresses that listen, as bytes; a wildcard covers everything on its port. The paths of
  // unix sockets.
  std::set<std::string> addresses_;
  std::vector<Socket> listening_;
  std::vector<Socket> connected_;
};

}  // namespace sessiond::rpc
