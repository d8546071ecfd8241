// JSON as google.protobuf.Value, with nothing changed in silence. Its numbers are doubles, of which
// JSON knows nothing: 9007199254740993, 1e-400 and -0 are numbers that would become others. They
// become texts here, with all their digits, and whoever reads them is told.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond {

struct ExactJson {
  google::protobuf::Value value;
  // Levels of objects and lists; 0 for a number or text.
  int depth = 0;
  // What is not as it was, a sentence without its subject each, each behind the path where it
  // stands: `a.b[2]: 1e-400 …`.
  std::vector<std::string> changes;
};

// What a Struct may have in the contract: levels of objects and lists (see limits.h). A level of
// objects is three of Protobuf, of which no message that is read has more than a hundred.
inline constexpr int kStructLevelsMax = 16;
// A whole request: what is around a Struct besides.
inline constexpr int kRequestLevelsMax = kStructLevelsMax + 4;

// INVALID_ARGUMENT: it is no JSON (RFC 8259, UTF-8), has more than `levels_max`, or holds a number
// that is beyond all doubles. A sentence without its subject, too.
absl::StatusOr<ExactJson> ParseExactJson(absl::string_view json,
                                         int levels_max = kRequestLevelsMax);

// A number out of its digits, or the lists of such; texts stay what no double is, and are told in
// `changes`. `NaN` and `Infinity`, which are no numbers of JSON, stay texts untold.
void ReadDigits(google::protobuf::Value& value, std::vector<std::string>& changes);

// For those who can be told to write it otherwise. INVALID_ARGUMENT, with the first of them, also
// when something would be changed, or when a field of the message that it is to be stands there by
// both of its names, ownerId and owner_id: only one of them would count. A whole sentence.
absl::Status CheckExactJson(absl::string_view json, const google::protobuf::Descriptor& type);

}  // namespace sessiond
