// Bytes → request, and the errors of bytes that are not a valid one.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/empty.pb.h"
#include "google/protobuf/message.h"
#include "server/rpc/serialized.h"

namespace sessiond::rpc {

// PAYLOAD_TOO_LARGE. `what`: a request or a reply.
absl::Status TooLarge(uint64_t size, absl::string_view what, std::size_t limit);

// PAYLOAD_TOO_LARGE: more bytes than a request may have; nothing was parsed. INVALID_FIELD: the
// bytes are not a message of this type, or have so many strings and messages that nothing was
// parsed; the violation names the field at which that is so. Unknown fields are dropped.
absl::Status ParseRequest(grpc::ByteBuffer& bytes, google::protobuf::Message* request);

// The first error that makes `bytes` an invalid message of this type: a path such as
// `session.owner_id` (empty for the message itself) and what is wrong there. Empty sentence: no
// error was found.
struct WireProblem {
  std::string path;
  std::string sentence;
};
WireProblem ExplainWire(absl::string_view bytes, const google::protobuf::Descriptor& type);

// PAYLOAD_TOO_LARGE: the reply exceeds the limit.
absl::Status SerializeReply(const google::protobuf::Message& reply, grpc::ByteBuffer* bytes);
// The same for a reply of which `part` is serialized already: concatenated messages are merged.
absl::Status SerializeReply(const std::string& part, const google::protobuf::Message& rest,
                            grpc::ByteBuffer* bytes);
template <class Message>
absl::Status SerializeReply(const Serialized<Message>& reply, grpc::ByteBuffer* bytes) {
  return SerializeReply(*reply.bytes, google::protobuf::Empty::default_instance(), bytes);
}

}  // namespace sessiond::rpc
