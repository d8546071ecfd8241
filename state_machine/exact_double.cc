#include "state_machine/exact_double.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"

namespace sessiond {
namespace {

// No double has more significant digits than this, not even the smallest.
constexpr std::size_t kDigitsMax = 767;

// A decimal number: 0.d₁d₂d₃… · 10^exponent, without zeros at either end.
struct Decimal {
  bool negative = false;
  std::string digits;
  int64_t exponent = 0;

  bool operator==(const Decimal&) const = default;
};

// REQUIRES: a number in the format of JSON or printf.
Decimal DecimalOf(absl::string_view text) {
  Decimal number;
  number.negative = !text.empty() && text[0] == '-';
  bool in_fraction = false;
  std::size_t i = number.negative ? 1 : 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    if (text[i] == '.') {
      in_fraction = true;
      continue;
    }
    const bool leading = number.digits.empty() && text[i] == '0';
    if (!leading) number.digits += text[i];
    // Leading zeros count only after the point.
    if (in_fraction ? leading : !leading) number.exponent += in_fraction ? -1 : 1;
  }
  int64_t exponent = 0;
  // Beyond this, all are as far away.
  constexpr int64_t kFar = std::numeric_limits<int32_t>::max();
  if (i < text.size() && !absl::SimpleAtoi(text.substr(i + 1), &exponent))
    exponent = text[i + 1] == '-' ? -kFar : kFar;
  number.exponent += std::clamp(exponent, -kFar, kFar);
  number.digits.erase(number.digits.find_last_not_of('0') + 1);
  if (number.digits.empty()) number.exponent = 0;
  return number;
}

// Whether two numbers with a fraction differ by one in the last of the 17 digits that tell doubles
// apart: not every program that writes one takes the nearest text.
bool IsNextTo(const Decimal& nearest, const Decimal& number) {
  constexpr std::size_t kDigits = std::numeric_limits<double>::max_digits10;
  const auto has_fraction = number.exponent < static_cast<int64_t>(kDigits);
  if (!has_fraction || number.digits.size() != kDigits || nearest.digits.size() > kDigits ||
      nearest.exponent != number.exponent || nearest.negative != number.negative)
    return false;
  const auto last_digits = [](std::string digits) {
    digits.resize(kDigits, '0');
    int64_t value = 0;
    return absl::SimpleAtoi(digits, &value) ? value : 0;
  };
  return std::abs(last_digits(nearest.digits) - last_digits(number.digits)) <= 1;
}

// Whether the double equals the number in the text (ExactDouble).
bool IsNumber(double value, absl::string_view text) {
  const Decimal number = DecimalOf(text);
  // PostgreSQL's numbers have no negative zero.
  if (number.digits.empty()) return !number.negative;
  if (!std::isfinite(value) || value == 0 || number.digits.size() > kDigitsMax) return false;
  const bool whole = text.find_first_of(".eE") == absl::string_view::npos;
  char written[kDigitsMax + 16];
  const int size = whole ? std::snprintf(written, sizeof(written), "%.0f", value)
                         : std::snprintf(written, sizeof(written), "%.*e",
                                         static_cast<int>(number.digits.size()) - 1, value);
  const Decimal nearest = DecimalOf(absl::string_view(written, static_cast<std::size_t>(size)));
  return nearest == number || IsNextTo(nearest, number);
}

}  // namespace

std::optional<double> ExactDouble(absl::string_view number) {
  double value = 0;
  if (!absl::SimpleAtod(number, &value)) return std::nullopt;
  // So few digits come back as they were.
  const bool few = number.size() <= std::numeric_limits<double>::digits10 &&
                   number.find_first_of("eE") == absl::string_view::npos;
  // Out of range it is infinite, or zero.
  if ((few && std::isnormal(value)) || IsNumber(value, number)) return value;
  return std::nullopt;
}

}  // namespace sessiond
