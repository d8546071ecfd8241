// The base64 of tokens and keys (RFC 7515, section 2).
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace sessiond::identity {

// Bytes have one spelling: without padding, white space, or bits left over at the end. Anything
// else is nothing.
std::optional<std::string> DecodeBase64Url(absl::string_view text);

}  // namespace sessiond::identity
