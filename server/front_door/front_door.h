// Where everybody comes in: accepts the connections of the gRPC port, and counts them.
//
//   listening sockets ─▶ one thread: accept ─▶ too many? ─▶ gRPC
//                             │ no descriptor left  │ in all, or of one address
//                             └──────▶ closed ◀─────┘
//
// The process's last descriptors are not for connections. If others have taken them, too, accept
// fails, the peer waits for nothing, and poll says at once that it is there: so one descriptor is
// kept in reserve, and given up to let the peer in and close it. As soon as descriptors are free,
// the next one comes in as ever.
//
// How many have not said anything yet is not limited separately: gRPC closes a connection that has
// not shaken hands and sent its SETTINGS within ten seconds, and until then it counts like any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "server/front_door/connections.h"
#include "server/front_door/listening_socket.h"
#include "server/ops/metrics.h"
#include "server/ops/rate_limited_warning.h"

namespace sessiond::front_door {

// A way in.
struct Entrance {
  std::vector<ListeningSocket> sockets;
  // Serves a connection, and takes over its descriptor. Called on the door's thread.
  std::function<void(int listening, int connection)> admit;
};

// What the process's limit of open files leaves for connections, beside all else that it opens.
ConnectionLimits WhatFits(ConnectionLimits limits);

class FrontDoor {
 public:
  // Opens. REQUIRES: metrics outlive the door.
  FrontDoor(std::vector<Entrance> entrances, ConnectionLimits limits, Metrics& metrics);
  ~FrontDoor() { Close(); }
  FrontDoor(const FrontDoor&) = delete;

  // Lets nobody in any more: new connections are refused, and clients go elsewhere. Once it
  // returns, no connection is added.
  void Close();

  // RESOURCE_EXHAUSTED: nobody is let in at present, and why.
  absl::Status LetsIn();
  // How many were refused because their address had too many.
  int64_t refused_of_address() const { return refused_of_address_; }

  Connections& connections() { return connections_; }

 private:
  void Run();
  // Lets in who waits, but only some: others wait, too.
  void LetIn(const Entrance& entrance, int listening);
  void Admit(const Entrance& entrance, int listening, int connection, const sockaddr_storage& peer);
  // There is no descriptor for whoever waits.
  void TurnAway(int listening);
  void TellNoDescriptor(const std::string& why);
  bool Reserve();

  Metrics& metrics_;
  Connections connections_;
  std::vector<Entrance> entrances_;
  // An event: the thread is to end.
  const int ended_;
  std::atomic<int64_t> refused_of_address_ = 0;
  std::atomic<bool> no_descriptor_ = false;

  // Thread's only, once it runs.
  int reserve_ = -1;
  RateLimitedWarning too_many_warning_, per_address_warning_, no_descriptor_warning_;
  // Its end is to be told, too.
  bool logged_turning_away_ = false;

  std::thread thread_;
};

}  // namespace sessiond::front_door
