// A gRPC service whose requests arrive as bytes. gRPC's generated services parse by themselves and
// answer garbage with an empty UNIMPLEMENTED; here the bytes come to us, before anything is
// allocated for them, and so do their size and what is wrong with them.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/async_unary_call.h>

#include <deque>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"

namespace sessiond::rpc {

// One method for each of the descriptor's, by its index there. All unary.
class RawService : public grpc::Service {
 public:
  explicit RawService(const google::protobuf::ServiceDescriptor* descriptor)
      : descriptor_(descriptor) {
    for (int i = 0; i < descriptor->method_count(); ++i) {
      // gRPC keeps the pointer: a deque never moves what it holds.
      paths_.push_back(
          absl::StrCat("/", descriptor->full_name(), "/", descriptor->method(i)->name()));
      AddMethod(new grpc::internal::RpcServiceMethod(
          paths_.back().c_str(), grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
      MarkMethodRaw(i);
    }
  }

  const google::protobuf::ServiceDescriptor* descriptor() const { return descriptor_; }

  // Asks for the next call of a method; `tag` comes back when there is one.
  void Accept(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
              grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
              grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(method, context, request, writer, queue, queue, tag);
  }

 private:
  const google::protobuf::ServiceDescriptor* const descriptor_;
  std::deque<std::string> paths_;
};

}  // namespace sessiond::rpc
