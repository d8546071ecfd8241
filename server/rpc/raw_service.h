// A gRPC service whose requests arrive as bytes. gRPC's generated services parse by themselves and
// answer garbage with an empty UNIMPLEMENTED. Here we get the bytes before anything is allocated
// for them, and so can check their size and say what is wrong with them.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/async_stream.h>

#include <deque>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"

namespace sessiond::rpc {

// Both directions of a call.
using ByteStream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

// One method for each of the descriptor's, by its index there. For gRPC every method streams both
// ways: on the wire a stream of one request and one reply looks the same. So calls are accepted at
// their headers, and nothing of a request is read before somebody asks for it.
class RawService : public grpc::Service {
 public:
  explicit RawService(const google::protobuf::ServiceDescriptor* descriptor) {
    for (int i = 0; i < descriptor->method_count(); ++i) {
      // gRPC stores the pointer: a deque never moves its elements.
      paths_.push_back(
          absl::StrCat("/", descriptor->full_name(), "/", descriptor->method(i)->name()));
      AddMethod(new grpc::internal::RpcServiceMethod(
          paths_.back().c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
      MarkMethodRaw(i);
    }
  }

  // Waits for the next call of a method; `tag` completes when there is one.
  void Accept(int method, grpc::ServerContext* context, ByteStream* stream,
              grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncBidiStreaming(method, context, stream, queue, queue, tag);
  }

 private:
  std::deque<std::string> paths_;
};

}  // namespace sessiond::rpc
