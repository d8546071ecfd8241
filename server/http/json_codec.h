// JSON ↔ the bytes of a message, by Protobuf's mapping. What arrives is read strictly: Protobuf's
// own reader takes JSON that is none, of two equal names the last, and another number for one that
// it cannot hold.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace sessiond::http {

// INVALID_FIELD: not JSON, an object with a name twice, a name that the message does not have, a
// value of another type; the sentence says where. Empty text is the empty message.
absl::StatusOr<std::string> FromJson(absl::string_view json,
                                     const google::protobuf::Descriptor& type);

// CONSTRAINT_VIOLATION: the bytes are not a message of this type, or have no form in JSON.
absl::StatusOr<std::string> ToJson(const std::string& bytes,
                                   const google::protobuf::Descriptor& type);

// Between gRPC's buffers and strings.
grpc::ByteBuffer BufferOf(const std::string& bytes);
std::string BytesOf(const grpc::ByteBuffer& buffer);

}  // namespace sessiond::http
