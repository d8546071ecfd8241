// A gRPC service whose requests arrive as bytes. gRPC's generated services parse by themselves and
// answer garbage with an empty UNIMPLEMENTED; here the bytes come to us, before anything is
// allocated for them, and so do their size and what is wrong with them.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <deque>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"

namespace sessiond::rpc {

// Both directions of a streaming call.
using ByteStream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

// One method for each of the descriptor's, by its index there. Whatever streams, streams both ways
// to gRPC: on the wire a stream of one request looks no different.
class RawService : public grpc::Service {
 public:
  explicit RawService(const google::protobuf::ServiceDescriptor* descriptor)
      : descriptor_(descriptor) {
    for (int i = 0; i < descriptor->method_count(); ++i) {
      // gRPC keeps the pointer: a deque never moves what it holds.
      paths_.push_back(
          absl::StrCat("/", descriptor->full_name(), "/", descriptor->method(i)->name()));
      AddMethod(new grpc::internal::RpcServiceMethod(paths_.back().c_str(),
                                                     IsStream(*descriptor->method(i))
                                                         ? grpc::internal::RpcMethod::BIDI_STREAMING
                                                         : grpc::internal::RpcMethod::NORMAL_RPC,
                                                     nullptr));
      MarkMethodRaw(i);
    }
  }

  const google::protobuf::ServiceDescriptor* descriptor() const { return descriptor_; }

  static bool IsStream(const google::protobuf::MethodDescriptor& method) {
    return method.client_streaming() || method.server_streaming();
  }

  // Asks for the next call of a unary method; `tag` comes back when there is one.
  void Accept(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
              grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
              grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(method, context, request, writer, queue, queue, tag);
  }
  // The same of a streaming method.
  void Accept(int method, grpc::ServerContext* context, ByteStream* stream,
              grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncBidiStreaming(method, context, stream, queue, queue, tag);
  }

 private:
  const google::protobuf::ServiceDescriptor* const descriptor_;
  std::deque<std::string> paths_;
};

}  // namespace sessiond::rpc
