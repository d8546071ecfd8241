#include "server/watch/resume_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>
#include <optional>

#include "absl/random/random.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond::watch {
namespace {

// Raised when the layout changes: older tokens are then refused.
constexpr char kVersion = 2;
constexpr char kInitialState = 1, kChanges = 2;
constexpr std::size_t kVersionBytes = 1, kSaltBytes = 8, kSealBytes = 16;

// Encrypts, or decrypts.
std::string Crypt(const std::string& key, absl::string_view counter, absl::string_view bytes) {
  static EVP_CIPHER* const aes = EVP_CIPHER_fetch(nullptr, "AES-128-CTR", nullptr);
  thread_local const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
      EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  const auto in = [](absl::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  EVP_EncryptInit_ex2(context.get(), aes, in(key), in(counter), nullptr);
  std::string out(bytes.size(), '\0');
  int size = 0;
  EVP_EncryptUpdate(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size, in(bytes),
                    static_cast<int>(bytes.size()));
  return out;
}

std::string DrawSalt() {
  thread_local absl::BitGen random;
  const uint64_t salt = random();
  return std::string(reinterpret_cast<const char*>(&salt), kSaltBytes);
}

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

std::optional<int64_t> TakeVarint(absl::string_view* rest) {
  uint64_t value = 0;
  for (int shift = 0; shift < 63 && !rest->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest->front());
    rest->remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return static_cast<int64_t>(value);
  }
  return std::nullopt;
}

// Positions of a watch that does not see everything have one length, whatever they are.
constexpr std::size_t kPositionBytes = 8;

void AppendPosition(int64_t position, bool hide_size, std::string* out) {
  if (!hide_size) return AppendVarint(static_cast<uint64_t>(position), out);
  for (std::size_t i = 0; i < kPositionBytes; ++i)
    out->push_back(static_cast<char>(static_cast<uint64_t>(position) >> (8 * i)));
}

std::optional<int64_t> TakePosition(bool hides_size, absl::string_view* rest) {
  if (!hides_size) return TakeVarint(rest);
  if (rest->size() < kPositionBytes) return std::nullopt;
  uint64_t position = 0;
  for (std::size_t i = 0; i < kPositionBytes; ++i)
    position |= uint64_t{static_cast<unsigned char>((*rest)[i])} << (8 * i);
  rest->remove_prefix(kPositionBytes);
  return static_cast<int64_t>(position);
}

absl::Status Refused() {
  return Refusal(v1::INVALID_RESUME_TOKEN,
                 "The resume token was not made for this watch: start again without one, and "
                 "change nothing but heartbeat_interval when resuming.");
}

}  // namespace

ResumeTokens::ResumeTokens(const PageTokens& tokens, const Interest& interest, int partition_count)
    : tokens_(tokens),
      interest_(interest),
      partition_count_(partition_count),
      watched_(tokens.Sign(absl::StrCat("watched\n", interest.Canonical()))),
      key_(tokens.Sign("key of resume tokens")) {}

std::string ResumeTokens::Seal(absl::string_view clear) const {
  return tokens_.Sign(absl::StrCat("resume token\n", watched_, clear));
}

std::string ResumeTokens::Make(const ResumePoint& point) const {
  std::string body = {point.in_initial_state ? kInitialState : kChanges};
  for (const int16_t partition : interest_.partitions())
    AppendPosition(point.positions[partition], !interest_.scope().everything(), &body);
  const std::string head = absl::StrCat(std::string(1, kVersion), DrawSalt());
  const std::string seal = Seal(absl::StrCat(head, body));
  return absl::WebSafeBase64Escape(absl::StrCat(head, Crypt(key_, seal, body), seal));
}

absl::StatusOr<ResumePoint> ResumeTokens::Open(absl::string_view token) const {
  constexpr std::size_t kHeadBytes = kVersionBytes + kSaltBytes;
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() <= kHeadBytes + kSealBytes ||
      absl::WebSafeBase64Escape(bytes) != token || bytes[0] != kVersion) {
    return Refused();  // A token has one spelling.
  }
  const absl::string_view all = bytes;
  const absl::string_view head = all.substr(0, kHeadBytes);
  const absl::string_view seal = all.substr(all.size() - kSealBytes);
  const std::string body =
      Crypt(key_, seal, all.substr(kHeadBytes, all.size() - kHeadBytes - kSealBytes));
  if (CRYPTO_memcmp(Seal(absl::StrCat(head, body)).data(), seal.data(), kSealBytes) != 0)
    return Refused();
  ResumePoint point{.positions = Positions(static_cast<std::size_t>(partition_count_)),
                    .in_initial_state = body[0] == kInitialState};
  absl::string_view rest = absl::string_view(body).substr(1);
  for (const int16_t partition : interest_.partitions()) {
    const std::optional<int64_t> position = TakePosition(!interest_.scope().everything(), &rest);
    if (!position.has_value()) return Refused();
    point.positions[partition] = *position;
  }
  if (!rest.empty()) return Refused();
  return point;
}

}  // namespace sessiond::watch
