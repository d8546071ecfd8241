#include "server/watch/resume_token.h"

#include <openssl/crypto.h>

#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond::watch {
namespace {

// Raised when the layout changes: older tokens are then refused.
constexpr char kVersion = 1;
constexpr char kInitialState = 1, kChanges = 2;
constexpr std::size_t kHeadBytes = 2;
constexpr std::size_t kSealBytes = 16;

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
      watched_(tokens.Sign(absl::StrCat("watched\n", interest.Canonical()))) {}

std::string ResumeTokens::Seal(absl::string_view body) const {
  return tokens_.Sign(absl::StrCat("resume token\n", watched_, body));
}

std::string ResumeTokens::Make(const ResumePoint& point) const {
  std::string bytes = {kVersion, point.in_initial_state ? kInitialState : kChanges};
  for (const int16_t partition : interest_.partitions())
    AppendVarint(static_cast<uint64_t>(point.positions[partition]), &bytes);
  return absl::WebSafeBase64Escape(absl::StrCat(bytes, Seal(bytes)));
}

absl::StatusOr<ResumePoint> ResumeTokens::Open(absl::string_view token) const {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() < kHeadBytes + kSealBytes ||
      absl::WebSafeBase64Escape(bytes) != token) {  // A token has one spelling.
    return Refused();
  }
  const absl::string_view body = absl::string_view(bytes).substr(0, bytes.size() - kSealBytes);
  const absl::string_view seal = absl::string_view(bytes).substr(body.size());
  if (CRYPTO_memcmp(Seal(body).data(), seal.data(), kSealBytes) != 0) return Refused();
  if (body[0] != kVersion) return Refused();
  ResumePoint point{.positions = Positions(static_cast<std::size_t>(partition_count_)),
                    .in_initial_state = body[1] == kInitialState};
  absl::string_view rest = body.substr(kHeadBytes);
  for (const int16_t partition : interest_.partitions()) {
    const std::optional<int64_t> position = TakeVarint(&rest);
    if (!position.has_value()) return Refused();
    point.positions[partition] = *position;
  }
  if (!rest.empty()) return Refused();
  return point;
}

}  // namespace sessiond::watch
