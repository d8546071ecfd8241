// Page tokens: where a page ended, carried by the caller and believed only when this database's
// daemons made it, for the very query it comes back with.
//
//   token = base64url( version | key values, each with its length | first 16 bytes of HMAC-SHA-256
//   )
//
// The HMAC also covers a hash of everything that makes up the query, which the token itself does
// not carry.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sessiond {

// Longer tokens are refused unread. The longest made: an owner id of 256 bytes, a time and an id,
// in base64.
inline constexpr std::size_t kPageTokenBytesMax = 1024;

class PageTokens {
 public:
  // `key`: database_identity.token_key, so that one daemon takes the tokens of another.
  explicit PageTokens(std::string key) : key_(std::move(key)) {}

  // A token for the page behind the row with these `key_values`. `query`: all that the token is
  // bound to, in a fixed order: the method, then the fields of the request but page_size and
  // page_token. REQUIRES: the token stays within kPageTokenBytesMax.
  std::string Make(absl::Span<const absl::string_view> query,
                   absl::Span<const std::string> key_values) const;

  // The key values of a token made for this `query`. INVALID_PAGE_TOKEN: anything else, without
  // saying what.
  absl::StatusOr<std::vector<std::string>> Open(absl::Span<const absl::string_view> query,
                                                absl::string_view token) const;

  // The first 16 bytes of the HMAC-SHA-256 of `bytes`: what else this database's daemons want to
  // know again. REQUIRES: `bytes` begin with a word on what they are.
  std::string Sign(absl::string_view bytes) const;

 private:
  std::string Seal(absl::Span<const absl::string_view> query, absl::string_view body) const;

  const std::string key_;
};

}  // namespace sessiond
