// A method as the server sees it: bytes in, bytes out. The steps that all methods share are here:
// parse, validate, check what the caller may set, drop output-only fields, make one form of what
// has two, handle, serialize.
#pragma once

#include <cassert>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/strip.h"
#include "db/base/coroutine.h"
#include "google/protobuf/descriptor.h"
#include "server/rpc/call.h"
#include "server/rpc/gate.h"
#include "server/rpc/output_only.h"
#include "server/rpc/parse.h"
#include "server/rpc/plain_fields.h"
#include "server/rpc/stream.h"
#include "server/rpc/validate.h"

namespace sessiond::rpc {

using Bytes = absl::StatusOr<grpc::ByteBuffer>;

// Exactly one of the two handlers is set.
struct Method {
  const google::protobuf::MethodDescriptor* descriptor;
  // Unary. The buffer outlives the task, which empties it.
  std::function<Awaitable<Bytes>(CallInfo, grpc::ByteBuffer&)> handle;
  // Streaming. The stream outlives the task.
  std::function<Awaitable<absl::Status>(CallInfo, RawStream&)> stream;
};

// The method of this request: AdvanceSession for AdvanceSessionRequest, of the service in the same
// file. It is taken from the generated class, so that the linker does not drop what reflection and
// metrics look up by name.
template <class Request>
const google::protobuf::MethodDescriptor* MethodOf() {
  const google::protobuf::Descriptor& type = *Request::descriptor();
  const auto* method = type.file()->service(0)->FindMethodByName(
      std::string(absl::StripSuffix(type.name(), "Request")));
  assert(method != nullptr && method->input_type() == &type);
  return method;
}

template <class Service, class Request, class Reply>
Awaitable<Bytes> HandleBytes(Service& service,
                             Awaitable<absl::StatusOr<Reply>> (Service::*method)(CallInfo, Request),
                             CallInfo call, grpc::ByteBuffer& bytes) {
  Request request;
  if (auto parsed = ParseRequest(bytes, &request); !parsed.ok()) co_return parsed;
  bytes.Clear();  // The call may wait for long.
  if (auto valid = Validate(request); !valid.ok()) co_return valid;
  static const google::protobuf::MethodDescriptor* const kMethod = MethodOf<Request>();
  if (call.principal != nullptr) {
    if (auto allowed = CheckFields(*call.principal, kMethod, request); !allowed.ok())
      co_return allowed;
  }
  DropOutputOnly(request);
  TakePlainFields(request);
  const absl::StatusOr<Reply> reply =
      co_await (service.*method)(std::move(call), std::move(request));
  if (!reply.ok()) co_return reply.status();
  grpc::ByteBuffer serialized;
  if (auto small = SerializeReply(*reply, &serialized); !small.ok()) co_return small;
  co_return serialized;
}

// A row of the table of RPCs: Bind(sessions, &SessionService::GetSession).
template <class Service, class Request, class Reply>
Method Bind(Service& service,
            Awaitable<absl::StatusOr<Reply>> (Service::*method)(CallInfo, Request)) {
  return {MethodOf<Request>(),
          [&service, method](CallInfo call, grpc::ByteBuffer& bytes) {
            return HandleBytes(service, method, std::move(call), bytes);
          },
          {}};
}

// If a message was refused while reading or writing, the stream ends with that refusal, whatever
// its handler returned.
template <class Service, class Request, class Reply>
Awaitable<absl::Status> HandleStream(
    Service& service, Awaitable<absl::Status> (Service::*method)(CallInfo, Stream<Request, Reply>&),
    CallInfo call, RawStream& raw) {
  static const google::protobuf::MethodDescriptor* const kMethod = MethodOf<Request>();
  Stream<Request, Reply> stream(raw, [principal = call.principal](const Request& request) {
    return principal == nullptr ? absl::OkStatus() : CheckFields(*principal, kMethod, request);
  });
  const absl::Status status = co_await (service.*method)(std::move(call), stream);
  co_return stream.refusal().ok() ? status : stream.refusal();
}

// A row for a streaming method, in one direction or both.
template <class Service, class Request, class Reply>
Method Bind(Service& service,
            Awaitable<absl::Status> (Service::*method)(CallInfo, Stream<Request, Reply>&)) {
  return {MethodOf<Request>(), {}, [&service, method](CallInfo call, RawStream& stream) {
            return HandleStream(service, method, std::move(call), stream);
          }};
}

}  // namespace sessiond::rpc
