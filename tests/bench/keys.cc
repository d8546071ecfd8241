#include "tests/bench/keys.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "absl/strings/str_cat.h"

namespace sessiond::bench {
namespace {

// Below one, which rules out absl::zipf_distribution.
constexpr double kExponent = 0.99;

// A prime above all populations here, so that multiplying by it permutes each of them.
constexpr std::uint64_t kScramble = 1'000'000'007;

// The density of the law, its integral from 1 on, and the inverse of that.
double Density(double x) { return std::pow(x, -kExponent); }
double Integral(double x) { return std::expm1((1 - kExponent) * std::log(x)) / (1 - kExponent); }
double InverseIntegral(double area) {
  return std::exp(std::log1p((1 - kExponent) * area) / (1 - kExponent));
}

// A rank from 1, the most wanted, to `population`, by rejection-inversion: a point under the curve,
// its rank by rounding, rejected in less than one draw of ten. W. Hörmann and G. Derflinger,
// "Rejection-inversion to generate variates from monotone discrete distributions", ACM Transactions
// on Modeling and Computer Simulation 6 (1996); the names there are h, H and s.
std::uint64_t ZipfRank(std::uint64_t population, Random& random) {
  static const double lowest = Integral(1.5) - 1;
  static const double surely = 2 - InverseIntegral(Integral(2.5) - Density(2));
  const double highest = Integral(static_cast<double>(population) + 0.5);
  std::uniform_real_distribution<double> area(lowest, highest);
  for (;;) {
    const double point = area(random);
    const double x = InverseIntegral(point);
    const double rank = std::clamp(std::round(x), 1.0, static_cast<double>(population));
    if (rank - x <= surely || point >= Integral(rank + 0.5) - Density(rank)) {
      return static_cast<std::uint64_t>(rank);
    }
  }
}

}  // namespace

Keys ParseKeys(const std::string& name) {
  if (name == "uniform") return Keys::kUniform;
  if (name == "zipf") return Keys::kZipf;
  if (name == "hot") return Keys::kHot;
  throw std::runtime_error(absl::StrCat("use: keys uniform|zipf|hot, not `", name, "`"));
}

std::uint64_t Draw(Keys keys, std::uint64_t population, Random& random) {
  switch (keys) {
    case Keys::kUniform:
      return random() % population;
    case Keys::kZipf:
      return ZipfRank(population, random) * kScramble % population;
    case Keys::kHot:
      return 0;
  }
  return 0;
}

}  // namespace sessiond::bench
