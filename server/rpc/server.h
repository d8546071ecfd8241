// The gRPC server: accepts calls on completion queues, runs each as one coroutine, and drains.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config/address.h"
#include "server/front_door/front_door.h"
#include "server/ops/metrics.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call_queue.h"
#include "server/rpc/dispatcher.h"
#include "server/rpc/grpc_stream.h"
#include "server/rpc/memory_guard.h"
#include "server/rpc/peer_waits.h"
#include "server/rpc/raw_service.h"
#include "server/rpc/replies.h"
#include "server/rpc/standard_service.h"
#include "server/rpc/worker.h"

namespace sessiond::rpc {

// Where calls come from.
struct Listener {
  Address address;
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
};

struct ServerOptions {
  std::vector<Listener> listeners;
  front_door::ConnectionLimits connections;
  // Of a connection: then its client is asked to open another one, in a way that loses no call.
  // Zero: no maximum.
  absl::Duration connection_age_max;
  absl::Duration connection_idle_max;
  // Each with a thread, in which handlers never block: one for every two cores. Two on two cores
  // disturbed each other: 18 % more CPU per read, and 14 % fewer reads.
  int queues = std::max(1, static_cast<int>(std::thread::hardware_concurrency() / 2));
  Patience patience;
  // Serves the calls. It outlives the server.
  Dispatcher* dispatcher = nullptr;
  // Health and reflection. They outlive the server.
  std::vector<StandardService*> standard_services;
};

class Server {
 public:
  // UNAVAILABLE: cannot listen on the address. REQUIRES: metrics outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options, Metrics& metrics);
  ~Server();

  // Has the dispatcher refuse new calls, ends the streams with UNAVAILABLE / DRAINING, finishes the
  // calls in progress, closes every connection, so that unfinished calls become UNAVAILABLE, and
  // stops. Connections are closed after `grace` at the latest; calls that have not ended by then
  // are cancelled, and waited for.
  void Stop(absl::Duration grace);

  // Where each listener listens, as numbers.
  const std::vector<Address>& bound() const { return bound_; }
  // Where connections come in.
  front_door::FrontDoor& door() { return *door_; }

 private:
  struct Served {
    const Dispatcher::Row* row;
    RawService* service;
    int index;
  };
  // A coroutine; defined in server.cc.
  struct Calls;

  explicit Server(ServerOptions options) : options_(std::move(options)) {}

  const ServerOptions options_;
  // Of unary calls.
  Replies replies_{64 << 20};
  // Of large requests that have come, until their calls are handled.
  ByteBudget requests_{64 << 20};
  // Parses them, one after the other: a message may have many times the bytes of its request.
  Worker parser_;
  GrpcStream::Shared streams_;
  std::vector<Address> bound_;
  std::vector<std::unique_ptr<RawService>> raw_services_;
  std::vector<Served> served_;
  std::vector<std::unique_ptr<CallQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<front_door::FrontDoor> door_;
  std::optional<MemoryGuard> guard_;
  bool stopped_ = false;
};

}  // namespace sessiond::rpc
