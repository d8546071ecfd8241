// Whether a request is valid: all checks that do not need the session. The rules are the fields'
// own (sessiond/v1/rules.proto): one walk over the message finds every violation.
#pragma once

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace sessiond::rpc {

// INVALID_FORMAT: the id of the session that the request is about (checked first). INVALID_FIELD:
// everything else, listed in BadRequest. INVALID_FIELD_MASK: for an update.
absl::Status Validate(const google::protobuf::Message& request);

}  // namespace sessiond::rpc
