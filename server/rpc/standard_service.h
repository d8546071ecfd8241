// A service that is not of the contract, and is served on our own completion queues, like
// everything else. gRPC's callback API has polling threads of its own, which cost every call a
// quarter of its CPU on two cores (measured on an echo).
#pragma once

#include <grpcpp/grpcpp.h>

#include <vector>

#include "server/rpc/call_queue.h"
#include "server/rpc/grpc_stream.h"

namespace sessiond::rpc {

class StandardService {
 public:
  virtual ~StandardService() = default;
  // To be registered with the server.
  virtual std::vector<grpc::Service*> services() = 0;
  // Accepts calls from this queue from now on. Both outlive the calls.
  virtual void Accept(CallQueue& queue, GrpcStream::Shared& shared) = 0;
  // Ends every stream, and future ones, so that stopping the server need not wait for them.
  virtual void EndStreams() = 0;
};

}  // namespace sessiond::rpc
