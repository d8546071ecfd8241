#include "server/watch/resume_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>

#include "absl/random/random.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "state_machine/refusal.h"

namespace sessiond::watch {
namespace {

using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

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
  {
    StringOutputStream stream(&body);
    CodedOutputStream out(&stream);
    for (const int16_t partition : interest_.partitions()) {
      const auto position = static_cast<uint64_t>(point.positions[partition]);
      HidesSizes() ? out.WriteLittleEndian64(position) : out.WriteVarint64(position);
    }
  }
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
  const absl::string_view positions = absl::string_view(body).substr(1);
  CodedInputStream in(reinterpret_cast<const uint8_t*>(positions.data()),
                      static_cast<int>(positions.size()));
  for (const int16_t partition : interest_.partitions()) {
    uint64_t position = 0;
    if (!(HidesSizes() ? in.ReadLittleEndian64(&position) : in.ReadVarint64(&position)))
      return Refused();
    point.positions[partition] = static_cast<int64_t>(position);
  }
  if (in.CurrentPosition() != static_cast<int>(positions.size())) return Refused();
  return point;
}

}  // namespace sessiond::watch
