// JSON as google.protobuf.Value, without silent changes. A Value's numbers are doubles, which JSON
// does not know: 9007199254740993, 1e-400 and -0 would become other numbers. Here they become texts
// with all their digits, and this is reported.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond {

struct ExactJson {
  google::protobuf::Value value;
  // Levels of objects and lists; 0 for a number or text.
  int depth = 0;
  // What differs from the original: each a sentence without its subject, after the path of the
  // value: `a.b[2]: 1e-400 …`.
  std::vector<std::string> changes;
};

// The depth of a Struct in the contract: levels of objects and lists (see limits.h). A level of
// objects is three of Protobuf, whose parser accepts at most a hundred in a message.
inline constexpr int kStructLevelsMax = 16;
// A whole request: the Struct and the levels around it.
inline constexpr int kRequestLevelsMax = kStructLevelsMax + 4;

// INVALID_ARGUMENT: it is not JSON (RFC 8259, UTF-8), has more than `levels_max`, or contains a
// number that is out of the range of doubles. Also a sentence without its subject.
absl::StatusOr<ExactJson> ParseExactJson(absl::string_view json,
                                         int levels_max = kRequestLevelsMax);

// Makes numbers from their digits, also in lists. What no number of JSON equals stays a text, and
// is reported in `changes`: too many digits for a double, and SQL's `NaN` and `Infinity`.
void ReadDigits(google::protobuf::Value& value, std::vector<std::string>& changes);

// For input that its author can correct. INVALID_ARGUMENT, with the first problem, also when
// something would be changed, or when a field of the message is given by both of its names, ownerId
// and owner_id: only one of them would count. A whole sentence.
absl::Status CheckExactJson(absl::string_view json, const google::protobuf::Descriptor& type);

// The same, and makes the message, as far as it can be read. FAILED_PRECONDITION: the input is as
// it should be, but no such message, and why, in a line of Protobuf's.
absl::Status ReadExactJson(absl::string_view json, google::protobuf::Message& message);

}  // namespace sessiond
