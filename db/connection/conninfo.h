// A libpq connection string or URL, taken apart before libpq sees it. What libpq says of one that
// it cannot read quotes it, and a password that is not percent-encoded falls into host, port or
// database: libpq's words about it are never shown, and ours name the part that is malformed and
// nothing that stands in it.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace sessiond::db {

// libpq's keywords (host, port, dbname, …) and their values, as the string says them; what it does
// not say is not there. Lists of hosts and ports are as they came: `host1,host2`.
using ConnInfo = std::map<std::string, std::string>;

// INVALID_ARGUMENT: a sentence, to stand behind the name of the option, that says which part is
// malformed, and the way out. After this libpq has nothing to complain about but what it meets on
// the way.
absl::StatusOr<ConnInfo> ParseConnInfo(const std::string& dsn);

}  // namespace sessiond::db
