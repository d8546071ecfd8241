#include "server/identity/base64url.h"

#include "absl/strings/escaping.h"

namespace sessiond::identity {

std::optional<std::string> DecodeBase64Url(absl::string_view text) {
  std::string bytes;
  // Abseil reads other spellings, too, and writes this one.
  if (!absl::WebSafeBase64Unescape(text, &bytes) || absl::WebSafeBase64Escape(bytes) != text)
    return std::nullopt;
  return bytes;
}

}  // namespace sessiond::identity
