// The sockets of the gRPC server, which gRPC keeps to itself, and which a drain has to end itself.
//
// gRPC's own Shutdown loses calls: from its beginning on it takes no more streams, and tells peers
// so by a GOAWAY that is under way while they still send. A call that meets it is CANCELLED, or, if
// it comes a moment later, is not answered at all. A peer whose connection ends instead knows what
// to think of every call on it: UNAVAILABLE, try elsewhere. So connections end first, and Shutdown
// finds nobody to lie to.
#pragma once

#include <vector>

#include "absl/time/time.h"

namespace sessiond::rpc {

class Sockets {
 public:
  // Those of this process whose own port is `port`, as there are at this moment.
  explicit Sockets(int port);
  // Lets go of them; gRPC goes on to have them.
  ~Sockets();
  Sockets(const Sockets&) = delete;

  // Lets nobody in any more: who comes now is refused, and turns elsewhere.
  void StopListening();
  // Says the last word: behind all that was written, the peers read the end.
  void EndWriting();
  // Waits until the peers have hung up, too, for `patience` at most.
  void AwaitPeers(absl::Duration patience);
  // Ends what is left, for gRPC as well.
  void Cut();

 private:
  // Duplicates, so that no number can come to mean another socket.
  std::vector<int> listening_;
  std::vector<int> connected_;
};

}  // namespace sessiond::rpc
