#include "state_machine/page_token.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

// Raised when the body's layout or the meaning of its values changes: older tokens are then
// refused.
constexpr char kVersion = 1;
// 128 bits cannot be guessed, and keep the token short.
constexpr std::size_t kSealBytes = 16;
constexpr int kLengthBytes = 4;

// Each text is preceded by its length, so that different lists never give the same bytes.
void AppendText(std::string* out, absl::string_view text) {
  uint32_t size = static_cast<uint32_t>(text.size());
  for (int i = 0; i < kLengthBytes; ++i, size >>= 8) out->push_back(static_cast<char>(size & 0xFF));
  absl::StrAppend(out, text);
}

std::optional<std::string> TakeText(absl::string_view* rest) {
  if (rest->size() < kLengthBytes) return std::nullopt;
  uint32_t size = 0;
  for (int i = kLengthBytes; i-- > 0;) size = size << 8 | static_cast<unsigned char>((*rest)[i]);
  rest->remove_prefix(kLengthBytes);
  if (rest->size() < size) return std::nullopt;
  std::string text(rest->substr(0, size));
  rest->remove_prefix(size);
  return text;
}

// One per thread, and reused: since OpenSSL 3, looking an algorithm up costs more than a seal
// (crypto(7), "Performance").
EVP_MAC_CTX* HmacSha256() {
  static EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  thread_local const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context = [] {
    std::string digest = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
        OSSL_PARAM_construct_end()};
    EVP_MAC_CTX* fresh = EVP_MAC_CTX_new(algorithm);
    EVP_MAC_CTX_set_params(fresh, params);
    return std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)>(fresh, &EVP_MAC_CTX_free);
  }();
  return context.get();
}

absl::Status Refused() {
  return Refusal(
      v1::INVALID_PAGE_TOKEN,
      "The page token was not made for this query: start again without one, and change nothing but "
      "page_size between pages");
}

}  // namespace

std::string PageTokens::Seal(absl::Span<const absl::string_view> query,
                             absl::string_view body) const {
  std::string bound;
  for (absl::string_view part : query) AppendText(&bound, part);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int digest_bytes = 0;
  EVP_Digest(bound.data(), bound.size(), digest.data(), &digest_bytes, EVP_sha256(), nullptr);
  return Sign(absl::StrCat(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest_bytes), body));
}

std::string PageTokens::Sign(absl::string_view bytes) const {
  EVP_MAC_CTX* const hmac = HmacSha256();
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  EVP_MAC_init(hmac, reinterpret_cast<const unsigned char*>(key_.data()), key_.size(), nullptr);
  EVP_MAC_update(hmac, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  EVP_MAC_final(hmac, reinterpret_cast<unsigned char*>(digest.data()), nullptr, digest.size());
  return digest.substr(0, kSealBytes);
}

std::string PageTokens::Make(absl::Span<const absl::string_view> query,
                             absl::Span<const std::string> key_values) const {
  std::string body(1, kVersion);
  for (const std::string& value : key_values) AppendText(&body, value);
  std::string token = absl::WebSafeBase64Escape(absl::StrCat(body, Seal(query, body)));
  assert(token.size() <= kPageTokenBytesMax);
  return token;
}

absl::StatusOr<std::vector<std::string>> PageTokens::Open(absl::Span<const absl::string_view> query,
                                                          absl::string_view token) const {
  std::string bytes;
  if (token.size() > kPageTokenBytesMax || !absl::WebSafeBase64Unescape(token, &bytes) ||
      bytes.size() < 1 + kSealBytes) {
    return Refused();
  }
  // absl accepts padding and blanks too; a token has one spelling only.
  if (absl::WebSafeBase64Escape(bytes) != token) return Refused();
  const absl::string_view body = absl::string_view(bytes).substr(0, bytes.size() - kSealBytes);
  const absl::string_view seal = absl::string_view(bytes).substr(body.size());
  if (CRYPTO_memcmp(Seal(query, body).data(), seal.data(), kSealBytes) != 0) return Refused();
  if (body[0] != kVersion) return Refused();
  std::vector<std::string> key_values;
  for (absl::string_view rest = body.substr(1); !rest.empty();) {
    auto value = TakeText(&rest);
    if (!value.has_value()) return Refused();
    key_values.push_back(*std::move(value));
  }
  return key_values;
}

}  // namespace sessiond
