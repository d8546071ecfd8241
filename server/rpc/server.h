// The gRPC server: accepts calls on completion queues, runs each as one coroutine, and drains.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/ops/journal.h"
#include "server/ops/metrics.h"
#include "server/rpc/call_queue.h"
#include "server/rpc/gate.h"
#include "server/rpc/method.h"
#include "server/rpc/raw_service.h"
#include "server/rpc/sockets.h"
#include "server/rpc/standard_service.h"
#include "server/rpc/stream.h"

namespace sessiond::rpc {

// Where calls come from.
struct Listener {
  // host:port, port 0 for any; or unix:path.
  std::string address;
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
};

struct ServerOptions {
  std::vector<Listener> listeners;
  // Each with a thread, in which handlers never block: one for every two cores. Two on two cores
  // disturbed each other: 18 % more CPU per read, and 14 % fewer reads.
  int queues = std::max(1, static_cast<int>(std::thread::hardware_concurrency() / 2));
  std::vector<Method> methods;
  // Health and reflection. They outlive the server.
  std::vector<StandardService*> standard_services;
  // What every call passes; null, in tests: everybody may do everything. It outlives the server.
  Gate* gate = nullptr;
};

class Server {
 public:
  // REQUIRES: metrics and journal outlive the server. UNAVAILABLE: cannot listen on the address.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options, Metrics& metrics,
                                                       Journal& journal);
  ~Server();

  // Ends the streams whose callers may no longer see what they watch.
  void CheckStreams() { streams_.CheckAll(); }
  // From now on every new call gets UNAVAILABLE / DRAINING.
  void RefuseNewCalls() { draining_ = true; }
  // Ends the streams with UNAVAILABLE / DRAINING, finishes the calls in progress, closes every
  // connection, so that unfinished calls become UNAVAILABLE, and stops. Connections are closed
  // after `grace` at the latest; calls that have not ended by then are cancelled, and waited for.
  void Stop(absl::Duration grace);

  // The port of each listener; 0 for those without.
  const std::vector<int>& ports() const { return ports_; }

 private:
  struct Served {
    const Method* method;
    MethodMetrics* metrics;
    RawService* service;
    int index;
  };
  // A coroutine; defined in server.cc.
  struct Calls;
  // Held by a call from when it is accepted until it ends.
  class Running;

  Gate::Admission Admit(const grpc::ServerContext& context, const Served& served,
                        std::size_t bytes);
  StreamSet::Check MayGoOn(const grpc::ServerContext& context,
                           access::PrincipalPtr principal) const;

  Server(Metrics& metrics, Journal& journal) : metrics_(metrics), journal_(journal) {}

  Metrics& metrics_;
  Journal& journal_;
  ServerOptions options_;
  std::vector<int> ports_;
  std::vector<std::unique_ptr<RawService>> raw_services_;
  std::vector<Served> served_;
  std::vector<std::unique_ptr<CallQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Sockets> sockets_;
  StreamSet streams_;

  // Unary calls that were accepted and have not ended.
  std::atomic<int> running_ = 0;
  std::atomic<bool> draining_ = false;
  // Notified when the last call of a drain has ended.
  std::mutex mutex_;
  std::condition_variable last_ended_;
  bool stopped_ = false;
};

}  // namespace sessiond::rpc
