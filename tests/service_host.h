// A gRPC server of a few services inside a test, reached without a network.
#pragma once

#include <memory>
#include <vector>

#include "grpcpp/grpcpp.h"

namespace sessiond {

class ServiceHost {
 public:
  // The services outlive it.
  explicit ServiceHost(const std::vector<grpc::Service*>& services) {
    grpc::ServerBuilder builder;
    for (grpc::Service* service : services) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }
  ~ServiceHost() { server_->Shutdown(); }

  grpc::Server& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace sessiond
