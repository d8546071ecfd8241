// The sockets of the gRPC server, which gRPC keeps to itself, and which a drain has to end itself.
//
// gRPC's own Shutdown loses calls: from its beginning on it takes no more streams, and tells peers
// so by a GOAWAY that is under way while they still send. A call that meets it is CANCELLED, or, if
// it comes a moment later, is not answered at all. A peer whose connection ends instead knows what
// to think of every call on it: UNAVAILABLE, try elsewhere. So connections end first, and Shutdown
// finds nobody to lie to.
#pragma once

#include <dirent.h>

#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace sessiond::rpc {

class Sockets {
 public:
  // Those that listen on `port` at this moment, and those that they will have let in. Holds on to
  // what it takes to find them when no more files can be opened.
  explicit Sockets(int port);
  // Lets go of them; gRPC goes on to have them.
  ~Sockets();
  Sockets(const Sockets&) = delete;

  // Finds them, as there are by now. False: it cannot be known, and gRPC has to do.
  bool Find();

  // Lets nobody in any more: who comes now is refused, and turns elsewhere.
  void StopListening();
  // Says the last word: behind all that was written, the peers read the end.
  void EndWriting();
  // Waits until the peers have hung up, too, for `patience` at most.
  void AwaitPeers(absl::Duration patience);
  // Ends what is left, for gRPC as well.
  void Cut();

 private:
  struct Socket {
    int number;
    // A duplicate, so that the number cannot come to mean another socket. Where no more files can
    // be opened, it is gRPC's own, which is looked at again before it is used.
    bool ours;
  };
  std::vector<int> Descriptors();
  // Whether it has one of the addresses.
  bool Fits(int descriptor) const;
  void ShutDown(const std::vector<Socket>& sockets, int how) const;
  void LetGo();

  DIR* const directory_;
  // Of those that listen, as bytes; a wildcard stands for all of its port.
  std::set<std::string> addresses_;
  std::vector<Socket> listening_;
  std::vector<Socket> connected_;
};

}  // namespace sessiond::rpc
