#include "db/connection/postgres_variables.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace sessiond::db {
namespace {

struct Honoured {
  // With a * at its end: all that begin so.
  absl::string_view variable;
  // Keywords that each override the variable. A place is one unit: a string that names a host does
  // not mean the address or port of another one.
  absl::string_view unless_said;
};

// clang-format off
constexpr Honoured kHonoured[] = {
    {"PGHOST",           "host hostaddr service"},
    {"PGHOSTADDR",       "host hostaddr service"},
    {"PGPORT",           "host hostaddr service port"},
    {"PGDATABASE",       "dbname"},
    {"PGUSER",           "user"},
    {"PGPASSWORD",       "password"},
    {"PGPASSFILE",       "password passfile"},
    {"PGSERVICEFILE",    ""},
    {"PGSYSCONFDIR",     ""},
    {"PGCONNECT_TIMEOUT", "connect_timeout"},
    {"PGCHANNELBINDING", "channel_binding"},
    {"PGREQUIREAUTH",    "require_auth"},
    {"PGREQUIREPEER",    "requirepeer"},
    {"PGKRBSRVNAME",     "krbsrvname"},
    {"PGREQUIRESSL",     "sslmode"},
    {"PGSSL*",           ""},
    {"PGGSS*",           ""},
};
// clang-format on

bool Fits(absl::string_view variable, absl::string_view pattern) {
  return absl::ConsumeSuffix(&pattern, "*") ? absl::StartsWith(variable, pattern)
                                            : variable == pattern;
}

bool Counts(absl::string_view variable, const ConnInfo& said) {
  for (const Honoured& honoured : kHonoured) {
    if (!Fits(variable, honoured.variable)) continue;
    const std::vector<std::string> keywords =
        absl::StrSplit(honoured.unless_said, ' ', absl::SkipEmpty());
    return std::none_of(keywords.begin(), keywords.end(), [&said](const std::string& keyword) {
      const auto found = said.find(keyword);
      return found != said.end() && !found->second.empty();
    });
  }
  return false;
}

}  // namespace

std::vector<absl::string_view> HonouredVariables() {
  std::vector<absl::string_view> variables;
  for (const Honoured& honoured : kHonoured) variables.push_back(honoured.variable);
  return variables;
}

void ForgetLibpqEnvironment() {
  for (const std::string& variable : LibpqVariables()) unsetenv(variable.c_str());
}

void ForgetLibpqEnvironment(const ConnInfo& said) {
  for (const std::string& variable : LibpqVariables()) {
    const char* value = std::getenv(variable.c_str());
    const bool is_set = value != nullptr && *value != '\0';
    if (!is_set || !Counts(variable, said)) unsetenv(variable.c_str());
  }
}

// All of libpq's variables begin so, and so will those of later versions.
std::vector<std::string> LibpqVariables() {
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    const absl::string_view text = *each;
    if (absl::StartsWith(text, "PG")) variables.emplace_back(text.substr(0, text.find('=')));
  }
  std::sort(variables.begin(), variables.end());
  return variables;
}

}  // namespace sessiond::db
