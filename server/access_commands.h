// `sessiond access …`: what an access file says, without a daemon. Each returns what to print.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond {

// A summary of the file. INVALID_ARGUMENT: the first thing that is wrong with it, and where.
absl::StatusOr<std::string> CheckAccess(const std::string& path);

// What a principal may do: a name of the file, or ISSUER#SUBJECT. With a method: whether it may
// call that, which is the second of the pair.
absl::StatusOr<std::pair<std::string, bool>> ExplainAccess(const std::string& path,
                                                           const std::string& principal,
                                                           const std::string& method);

// A new token, and the line of the access file that makes it somebody's.
std::string DrawToken();

}  // namespace sessiond
