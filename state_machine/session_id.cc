#include "state_machine/session_id.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

// In a pattern x is a lower-case hexadecimal digit, d a decimal digit, every other character
// itself.
constexpr absl::string_view kUuidPattern = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
constexpr absl::string_view kExecPattern = "exec_dddddddd_dddddd_xxxxxxxx";
constexpr absl::string_view kNilUuid = "00000000-0000-0000-0000-000000000000";

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsLowerHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); }

bool Fits(absl::string_view id, absl::string_view pattern) {
  if (id.size() != pattern.size()) return false;
  // `exec_` contains an x: the first five characters of that pattern are literal.
  const std::size_t literal = pattern.front() == 'e' ? 5 : 0;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const char p = pattern[i];
    const bool fits = i < literal ? id[i] == p
                      : p == 'x'  ? IsLowerHex(id[i])
                      : p == 'd'  ? IsDigit(id[i])
                                  : id[i] == p;
    if (!fits) return false;
  }
  return true;
}

absl::Status InvalidFormat(absl::string_view id, absl::string_view expected,
                           absl::string_view field) {
  const std::string shown = absl::CHexEscape(id.substr(0, 64));
  return Refusal(v1::INVALID_FORMAT,
                 absl::StrCat("The session id \"", shown, id.size() > 64 ? "…" : "", "\" must be ",
                              expected, "."))
      .With("session_id", shown)
      .With("expected", expected)
      .Violation(field, absl::StrCat("must be ", expected));
}

// FNV-1a (Fowler, Noll, Vo) of a text that is hashed in parts, left to right: `hash` is the hash of
// the text before.
constexpr uint64_t kFnvBasis = 14695981039346656037ULL;
uint64_t Hash(absl::string_view text, uint64_t hash = kFnvBasis) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

int16_t PartitionOfHash(uint64_t hash, int count) {
  const uint32_t folded = static_cast<uint32_t>(hash ^ (hash >> 32));
  return static_cast<int16_t>(folded % static_cast<uint32_t>(count));
}

}  // namespace

bool HasFormat(absl::string_view id, v1::Workflow::IdFormat format) {
  switch (format) {
    case v1::Workflow::UUID:
      return Fits(id, kUuidPattern) && id != kNilUuid;
    case v1::Workflow::EXEC:
      return Fits(id, kExecPattern);
    default:
      return false;
  }
}

bool IsSessionId(absl::string_view id) {
  return HasFormat(id, v1::Workflow::UUID) || HasFormat(id, v1::Workflow::EXEC);
}

absl::string_view FormatDescription(v1::Workflow::IdFormat format) {
  return format == v1::Workflow::EXEC
             ? "exec_YYYYMMDD_HHMMSS_xxxxxxxx (digits, then 8 of a-f and 0-9)"
             : "a lower-case UUID, 8-4-4-4-12 hexadecimal digits";
}

absl::Status CheckSessionId(absl::string_view id, absl::string_view field) {
  if (IsSessionId(id)) return absl::OkStatus();
  return InvalidFormat(id,
                       absl::StrCat(FormatDescription(v1::Workflow::UUID), ", or ",
                                    FormatDescription(v1::Workflow::EXEC)),
                       field);
}

absl::Status CheckSessionId(absl::string_view id, v1::Workflow::IdFormat format) {
  if (HasFormat(id, format)) return absl::OkStatus();
  return InvalidFormat(id, FormatDescription(format), "session_id");
}

std::string MakeSessionId(v1::Workflow::IdFormat format, absl::Time now, uint64_t random_high,
                          uint64_t random_low) {
  if (format == v1::Workflow::EXEC) {
    const absl::CivilSecond utc = absl::ToCivilSecond(now, absl::UTCTimeZone());
    return absl::StrFormat("exec_%04d%02d%02d_%02d%02d%02d_%08x", utc.year(), utc.month(),
                           utc.day(), utc.hour(), utc.minute(), utc.second(),
                           static_cast<uint32_t>(random_low));
  }
  const uint64_t millis = static_cast<uint64_t>(absl::ToUnixMillis(now)) & 0xFFFFFFFFFFFF;
  // Not with StrFormat, which takes several times as long: a new session draws many ids.
  return absl::StrCat(absl::Hex(millis >> 16, absl::kZeroPad8), "-",
                      absl::Hex(millis & 0xFFFF, absl::kZeroPad4), "-7",
                      absl::Hex(random_high & 0xFFF, absl::kZeroPad3), "-",
                      absl::Hex(0x8000 | ((random_high >> 12) & 0x3FFF), absl::kZeroPad4), "-",
                      absl::Hex(random_low & 0xFFFFFFFFFFFF, absl::kZeroPad12));
}

int16_t PartitionOf(absl::string_view id, int count) { return PartitionOfHash(Hash(id), count); }

std::string MakeSessionIdIn(int16_t partition, int partition_count, v1::Workflow::IdFormat format,
                            absl::Time now, absl::FunctionRef<uint64_t()> random) {
  constexpr int kDigits = 2, kEndings = 256;
  for (;;) {
    std::string id = MakeSessionId(format, now, random(), random());
    const absl::string_view beginning(id.data(), id.size() - kDigits);
    const uint64_t hash = Hash(beginning);
    const uint64_t first = random();
    for (uint64_t i = 0; i < kEndings; ++i) {
      const std::string ending = absl::StrCat(absl::Hex((first + i) % kEndings, absl::kZeroPad2));
      if (PartitionOfHash(Hash(ending, hash), partition_count) == partition)
        return absl::StrCat(beginning, ending);
    }
  }
}

}  // namespace sessiond
