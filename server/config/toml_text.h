// What is looked at before a TOML file is parsed.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sessiond {

// INVALID_ARGUMENT: a line is longer than any has to be. A key may be as deep as its line is long,
// and tables that deep end the process when they are destroyed.
absl::Status CheckTomlLines(absl::string_view text, const std::string& path);

}  // namespace sessiond
