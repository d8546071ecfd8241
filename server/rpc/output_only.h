// Fields marked OUTPUT ONLY in the contract, (rules).output_only, are ignored in requests: they are
// dropped first, so that a resource can be sent back as it was read. Requests that differ only in
// these fields have the same payload, and so take effect once under one request_id. The same holds
// for defaults given explicitly in a creation, the namespace `default` or an empty context, and for
// fields that an update's mask leaves out.
#pragma once

#include "google/protobuf/message.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::rpc {

// In the resources that the request carries. Not used for ImportSessions, which is a stream, and
// whose resources give all of their fields.
void DropOutputOnly(google::protobuf::Message& request);
// Here the session's id and etag are dropped too.
void DropOutputOnly(v1::CreateSessionRequest& request);
// Here they are input, and fields that the mask leaves out are dropped.
void DropOutputOnly(v1::UpdateSessionRequest& request);

}  // namespace sessiond::rpc
