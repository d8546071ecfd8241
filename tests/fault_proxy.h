// A network that fails, between a client and a server on this machine: it forwards TCP to a unix
// socket, until it is told to do otherwise.
//
//   client ──TCP, 127.0.0.1:port()──▶ FaultProxy ──unix socket──▶ server
#pragma once

#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond {

class FaultProxy {
 public:
  // `server`: the path of its socket.
  explicit FaultProxy(std::string server);
  // Closes everything.
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  int port() const { return port_; }

  // From now on nothing that is sent on the connections that are open arrives, either way, nor does
  // their end: as with a firewall that has forgotten them. New ones are as they always are.
  void Silence();
  // New connections are accepted, and nothing comes of them, as with a host that hangs.
  void HangNew(bool hang);
  // What is sent arrives so much later, of connections that are there, too.
  void Delay(absl::Duration delay);
  // New connections carry no more than so many bytes a second to the server.
  void Throttle(int bytes_per_second);
  // Both sides of all connections are told that the other has reset it.
  void Cut();
  // How many connections there are that forward.
  int open() const;

 private:
  // One direction.
  struct Pipe {
    int from = -1, to = -1;
    // What is under way, and when it arrives.
    struct Piece {
      std::string bytes;
      SteadyTime due;
    };
    std::deque<Piece> pieces;
    std::size_t bytes = 0;
    bool ended = false;
    int bytes_per_second = 0;  // 0: as they come.
    SteadyTime next_read;
  };
  struct Link {
    int client = -1, server = -1;
    Pipe up, down;
    bool silent = false;
  };

  void Run();
  void Accept();
  // Reads what is there, and writes what is due. False: the connection is over.
  bool Forward(Pipe* pipe, SteadyTime now);
  void Close(Link* link, bool reset);
  void Wake();

  const std::string server_;
  int listener_ = -1;
  int port_ = 0;
  int wake_[2] = {-1, -1};

  mutable std::mutex mutex_;
  std::list<Link> links_;
  bool hang_new_ = false;
  absl::Duration delay_;
  int bytes_per_second_ = 0;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace sessiond
