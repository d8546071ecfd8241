// A gRPC server of a few services inside a test, reached without a network.
#pragma once

#include <memory>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "server/rpc/call_queue.h"
#include "server/rpc/standard_service.h"

namespace sessiond {

class ServiceHost {
 public:
  // The services outlive it.
  explicit ServiceHost(const std::vector<rpc::StandardService*>& services) {
    grpc::ServerBuilder builder;
    for (rpc::StandardService* standard : services) {
      for (grpc::Service* service : standard->services()) builder.RegisterService(service);
    }
    queue_ = std::make_unique<rpc::CallQueue>(builder.AddCompletionQueue());
    server_ = builder.BuildAndStart();
    for (rpc::StandardService* standard : services) standard->Accept(*queue_, shared_);
    queue_->Start();
    channel_ = server_->InProcessChannel({});
  }
  ~ServiceHost() {
    server_->Shutdown();
    queue_->Stop();
  }

  grpc::Server& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  rpc::GrpcStream::Shared shared_;
  std::unique_ptr<rpc::CallQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace sessiond
