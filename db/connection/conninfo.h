// A libpq connection string or URL, parsed before libpq sees it. libpq's errors quote a string that
// it cannot parse, and a password that is not percent-encoded ends up in host, port or database. So
// libpq's errors are never shown, and ours name the malformed part and none of its content.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace sessiond::db {

// libpq's keywords (host, port, dbname, …) and their values, as the string gives them; what it does
// not give is absent. Lists of hosts and ports are not split: `host1,host2`.
using ConnInfo = std::map<std::string, std::string>;

// INVALID_ARGUMENT: a sentence, to follow the option's name, that says which part is malformed and
// how to fix it. After this, libpq can only fail at connecting.
absl::StatusOr<ConnInfo> ParseConnInfo(const std::string& dsn);

}  // namespace sessiond::db
