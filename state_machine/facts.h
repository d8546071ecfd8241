// Facts: how the audit writes messages down, so that replaying its events rebuilds them. A message
// is an object of its set fields by their names in the contract; times are RFC 3339, durations
// seconds, enums their names.
#pragma once

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond {

// All set fields.
google::protobuf::Value FactsOf(const google::protobuf::Message& message);

// One field; null when it is not set. REQUIRES: the message has the field.
google::protobuf::Value FactOf(const google::protobuf::Message& message, absl::string_view field);

// The inverse of both: unknown fields are left out, null clears a field.
void TakeFacts(const google::protobuf::Value& facts, google::protobuf::Message* message);
void TakeFact(absl::string_view field, const google::protobuf::Value& fact,
              google::protobuf::Message* message);

}  // namespace sessiond
