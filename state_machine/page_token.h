// Page tokens: where a page ended. The caller carries the token, and it is accepted only if this
// database's daemons made it, and only for the same query.
//
//   token = base64url( version | key values with their lengths | first 16 bytes of HMAC-SHA-256 )
//
// The HMAC also covers a hash of the whole query, which is not in the token itself.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sessiond {

// Longer tokens are refused unread. The longest valid one has an owner id of 256 bytes, a time and
// an id, in base64.
inline constexpr std::size_t kPageTokenBytesMax = 1024;

class PageTokens {
 public:
  // `key`: database_identity.token_key, so that each daemon accepts the tokens of the others.
  explicit PageTokens(std::string key) : key_(std::move(key)) {}

  // A token for the page after the row with these `key_values`. `query`: all that the token is
  // bound to, in a fixed order: the method, then the request's fields except page_size and
  // page_token. REQUIRES: the token is not longer than kPageTokenBytesMax.
  std::string Make(absl::Span<const absl::string_view> query,
                   absl::Span<const std::string> key_values) const;

  // The key values of a token made for this `query`. INVALID_PAGE_TOKEN: anything else, without
  // saying what.
  absl::StatusOr<std::vector<std::string>> Open(absl::Span<const absl::string_view> query,
                                                absl::string_view token) const;

  // The first 16 bytes of the HMAC-SHA-256 of `bytes`: for other data that this database's daemons
  // must recognize as their own. REQUIRES: `bytes` begin with a word that says what they are.
  std::string Sign(absl::string_view bytes) const;

 private:
  std::string Seal(absl::Span<const absl::string_view> query, absl::string_view body) const;

  const std::string key_;
};

}  // namespace sessiond
