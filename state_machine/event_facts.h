// Facts: how the audit stores messages, so that replaying its events rebuilds them. A message is an
// object of its set fields by their names in the contract; times are RFC 3339, durations seconds,
// enums their names.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond {

google::protobuf::Value TimeFact(absl::Time time);
google::protobuf::Value StructFact(const google::protobuf::Struct& fields);

// All set fields.
google::protobuf::Value FactsOf(const google::protobuf::Message& message);

// One field; null when it is not set. REQUIRES: the message has the field.
google::protobuf::Value FactOf(const google::protobuf::Message& message, absl::string_view field);

// The inverse of both: unknown fields are left out, null clears a field.
void TakeFacts(const google::protobuf::Value& facts, google::protobuf::Message* message);
void TakeFact(absl::string_view field, const google::protobuf::Value& fact,
              google::protobuf::Message* message);

// The value at a path as events name it: a field, a field of the task (`current_task.status`), or
// one key of a map (`labels.team`, labels.`a.b`). Null for a missing key; 0 for an empty counter,
// and an empty object for an empty context.
google::protobuf::Value FactAt(absl::string_view path, const v1::Session& session);

// The inverse. It does not cover what is below the session: errors, artifacts, the sequences of
// messages.
void TakeFactAt(absl::string_view path, const google::protobuf::Value& fact, v1::Session* session);

}  // namespace sessiond
