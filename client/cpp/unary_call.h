// The building blocks of all clients' methods: one RPC with retries, and lists of pages.
#pragma once

#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/strip.h"
#include "google/protobuf/repeated_field.h"
#include "sessiond/call.h"
#include "sessiond/stream_range.h"

namespace sessiond {

// One RPC: sets a request_id if the request has the field and it is empty, then makes the call,
// with retries.
template <class Stub, class Request, class Response>
absl::StatusOr<Response> UnaryCall(Stub& stub, const CallOptions& options, Request& request,
                                   grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                const Request&, Response*)) {
  if constexpr (requires { request.set_request_id(""); }) {
    if (request.request_id().empty()) request.set_request_id(NewRequestId());
  }
  // GetSession takes a GetSessionRequest, and so on for all.
  const absl::string_view name = absl::StripSuffix(Request::descriptor()->name(), "Request");
  Response response;
  absl::Status status = CallWithRetries(
      options,
      [&](grpc::ClientContext& context) { return (stub.*method)(&context, request, &response); },
      name);
  if (!status.ok()) return status;
  return response;
}

// A list, page after page; `items` gets a response's items.
template <class Stub, class Request, class Response, class T>
StreamRange<T> ListCall(std::shared_ptr<Stub> stub, CallOptions options, Request request,
                        grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                     Response*),
                        google::protobuf::RepeatedPtrField<T>* (Response::*items)()) {
  return StreamRange<T>([stub = std::move(stub), options = std::move(options),
                         request = std::move(request), method,
                         items](const std::string& page_token) mutable -> absl::StatusOr<Page<T>> {
    if (!page_token.empty()) request.set_page_token(page_token);
    auto response = UnaryCall(*stub, options, request, method);
    if (!response.ok()) return response.status();
    google::protobuf::RepeatedPtrField<T>& all = *((*response).*items)();
    return Page<T>{
        std::vector<T>(std::make_move_iterator(all.begin()), std::make_move_iterator(all.end())),
        response->next_page_token()};
  });
}

}  // namespace sessiond
