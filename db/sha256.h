// SHA-256, as lower-case hex: names the clusters of embedded PostgreSQL and seals applied
// migrations.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace sessiond::db {

// 64 hexadecimal digits.
std::string Sha256Hex(absl::string_view data);

}  // namespace sessiond::db
