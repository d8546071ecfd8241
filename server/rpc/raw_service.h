// A gRPC service whose requests arrive as bytes. gRPC's generated services parse by themselves and
// answer garbage with an empty UNIMPLEMENTED. Here we get the bytes before anything is allocated
// for them, and so can check their size and say what is wrong with them.
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

// The request of a unary call. Not every call has one: a client may end its side without a message.
struct RawRequest {
  grpc::ByteBuffer bytes;
  bool missing = false;
};

// Both directions of a streaming call.
using ByteStream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

}  // namespace sessiond::rpc

// How gRPC handles a unary call that has arrived. Its own template ends a call without a message
// with a bare INTERNAL, unreported; for our type of request it is passed on like any other, so that
// the caller learns what is wrong. The rest is as in the template.
template <>
class grpc::ServerInterface::PayloadAsyncRequest<sessiond::rpc::RawRequest> final
    : public RegisteredAsyncRequest {
 public:
  PayloadAsyncRequest(internal::RpcServiceMethod* method, ServerInterface* server,
                      grpc::ServerContext* context, internal::ServerAsyncStreamingInterface* stream,
                      grpc::CompletionQueue* call_queue,
                      grpc::ServerCompletionQueue* notification_queue, void* tag,
                      sessiond::rpc::RawRequest* request)
      : RegisteredAsyncRequest(server, context, stream, call_queue, notification_queue, tag,
                               method->name(), method->method_type()),
        request_(request) {
    IssueRequest(method->server_tag(), payload_.bbuf_ptr(), notification_queue);
  }
  ~PayloadAsyncRequest() override { payload_.Release(); }  // The request owns it by now.

  bool FinalizeResult(void** tag, bool* status) override {
    if (!done_intercepting_ && *status) {
      request_->missing = !payload_.Valid();
      SerializationTraits<ByteBuffer>::Deserialize(payload_.bbuf_ptr(), &request_->bytes);
    }
    return RegisteredAsyncRequest::FinalizeResult(tag, status);
  }

 private:
  sessiond::rpc::RawRequest* const request_;
  ByteBuffer payload_;
};

namespace sessiond::rpc {

// One method for each of the descriptor's, by its index there. For gRPC every streaming method
// streams both ways: on the wire a stream of one request looks the same.
class RawService : public grpc::Service {
 public:
  explicit RawService(const google::protobuf::ServiceDescriptor* descriptor)
      : descriptor_(descriptor) {
    for (int i = 0; i < descriptor->method_count(); ++i) {
      // gRPC stores the pointer: a deque never moves its elements.
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

  // Whether any number of requests, including none, may come.
  bool StreamsRequests(int method) const { return descriptor_->method(method)->client_streaming(); }

  // Waits for the next call of a unary method; `tag` completes when there is one.
  void Accept(int method, grpc::ServerContext* context, RawRequest* request,
              grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
              grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(method, context, request, writer, queue, queue, tag);
  }
  // The same for a streaming method.
  void Accept(int method, grpc::ServerContext* context, ByteStream* stream,
              grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncBidiStreaming(method, context, stream, queue, queue, tag);
  }

 private:
  const google::protobuf::ServiceDescriptor* const descriptor_;
  std::deque<std::string> paths_;
};

}  // namespace sessiond::rpc
