// SHA-256: names the clusters of embedded PostgreSQL, seals applied migrations, and makes the keys
// of requests.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace sessiond::db {

// 32 bytes.
std::string Sha256(absl::string_view data);

// 64 hexadecimal digits, in lower case.
std::string Sha256Hex(absl::string_view data);

}  // namespace sessiond::db
