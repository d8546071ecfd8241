// Fields marked OUTPUT ONLY in the contract, (rules).output_only, are ignored in requests: they are
// dropped before anybody acts on a request, so that what was read can be sent back as it came. A
// request that differs in nothing else has the same payload, and so takes effect once under one
// request_id. A creation that says what goes without saying, the namespace `default` or an empty
// context, is no other either; nor is an update for what its mask leaves out.
#pragma once

#include "google/protobuf/message.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::rpc {

// Of the resources that the request carries. ImportSessions, whose resources say all that they are,
// is a stream, and is not asked.
void DropOutputOnly(google::protobuf::Message& request);
// There the session's id and etag are no input either.
void DropOutputOnly(v1::CreateSessionRequest& request);
// There they are, and what the mask leaves out is none.
void DropOutputOnly(v1::UpdateSessionRequest& request);

}  // namespace sessiond::rpc
