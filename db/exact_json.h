// JSON as google.protobuf.Value, with nothing changed in silence. Its numbers are doubles, of which
// JSON knows nothing: 9007199254740993, 1e-400 and -0 are numbers that would become others. They
// become texts here, with all their digits, and whoever reads them is told.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

// INVALID_ARGUMENT: it is no JSON (RFC 8259, UTF-8, no more than 100 levels), or holds a number
// that is beyond all doubles. A sentence without its subject, too.
absl::StatusOr<ExactJson> ParseExactJson(absl::string_view json);

// INVALID_ARGUMENT, with the first change, also when something would be changed: for those who can
// be told to write it otherwise. A whole sentence.
absl::Status CheckExactJson(absl::string_view json);

}  // namespace sessiond
