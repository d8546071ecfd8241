#include "db/connection/conninfo.h"

#include <libpq-fe.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"

namespace sessiond::db {
namespace {

constexpr absl::string_view kEncode =
    "in a URL, write @ : / ? # % [ ] of user name and password as %40 %3A %2F %3F %23 %25 %5B %5D";
constexpr absl::string_view kQuote =
    "a value with blanks, quotes or backslashes stands in single quotes, with a backslash before "
    "each ' and \\";

absl::Status Malformed(absl::string_view what, absl::string_view way_out) {
  return absl::InvalidArgumentError(absl::StrCat("is malformed: ", what, "; ", way_out));
}

// What follows the scheme; empty if it is not a URL but keywords and values.
absl::string_view UrlOf(absl::string_view dsn) {
  for (const absl::string_view scheme : {"postgresql://", "postgres://"}) {
    if (absl::ConsumePrefix(&dsn, scheme)) return dsn;
  }
  return {};
}

// `user:password@` as libpq sees it: up to the first @, unless a / comes before it.
absl::string_view BehindUser(absl::string_view url) {
  const std::size_t end = url.find_first_of("@/");
  return end != url.npos && url[end] == '@' ? url.substr(end + 1) : url;
}

// Finds a password that is not percent-encoded in a URL that libpq would accept, or misread.
absl::Status CheckUrl(absl::string_view url) {
  for (std::size_t i = 0; i < url.size(); ++i) {
    if (url[i] != '%') continue;
    const absl::string_view digits = url.substr(i + 1, 2);
    if (digits.size() < 2 || digits == "00" || !absl::ascii_isxdigit(digits[0]) ||
        !absl::ascii_isxdigit(digits[1])) {
      return Malformed("a % in it has no two hexadecimal digits behind it, or has 00", kEncode);
    }
  }
  const absl::string_view behind_user = BehindUser(url);
  const absl::string_view place = behind_user.substr(0, behind_user.find('?'));
  if (absl::StrContains(place, '@')) {
    return Malformed("user name or password has an @ or a / that is not percent-encoded", kEncode);
  }
  const absl::string_view parameters =
      place.size() == behind_user.size() ? "" : behind_user.substr(place.size() + 1);
  int number = 0;
  for (const absl::string_view parameter : absl::StrSplit(parameters, '&', absl::SkipEmpty())) {
    ++number;
    if (std::count(parameter.begin(), parameter.end(), '=') != 1) {
      return Malformed(absl::StrCat("parameter ", number, " behind the ? is not NAME=VALUE"),
                       kEncode);
    }
  }
  return absl::OkStatus();
}

// The error for a string that libpq rejects, with no more than may be shown.
absl::Status Unreadable(absl::string_view url) {
  if (url.data() == nullptr) {
    return Malformed(
        "it is neither a URL, postgresql://USER:PASSWORD@HOST:PORT/DATABASE, nor "
        "made of libpq's keywords, host=HOST dbname=DATABASE",
        kQuote);
  }
  const absl::string_view behind_user = BehindUser(url);
  if (absl::StrContains(behind_user.substr(0, behind_user.find_first_of("/?")), '[')) {
    return Malformed("an IPv6 address in it is not of the form [ADDRESS]:PORT", kEncode);
  }
  return Malformed("a parameter behind the ? is none of libpq's, for example sslmode", kEncode);
}

// ----------------------------------------------------------------------------------------- values

bool IsHost(absl::string_view host) {
  // A directory of sockets, or one of Linux's sockets without a file.
  if (host.empty() || host[0] == '/' || host[0] == '@') return true;
  return std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_' || c == ':' || c == '%' ||
           c >= 0x80;
  });
}

bool IsPort(absl::string_view port) {
  int number;
  return port.empty() || (absl::SimpleAtoi(port, &number) && number >= 1 && number <= 65535);
}

bool IsNumber(absl::string_view text) {
  int number;
  return absl::SimpleAtoi(text, &number);
}

// What libpq accepts for a keyword.
struct Rule {
  absl::string_view keyword;
  // If there are any: one of these words instead of a number.
  std::vector<absl::string_view> words;
};

// clang-format off
const std::vector<Rule>& Rules() {
  static const auto& rules = *new std::vector<Rule>{
      {"connect_timeout", {}},
      {"keepalives", {}},
      {"keepalives_idle", {}},
      {"keepalives_interval", {}},
      {"keepalives_count", {}},
      {"tcp_user_timeout", {}},
      {"sslmode", {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}},
      {"gssencmode", {"disable", "prefer", "require"}},
      {"channel_binding", {"disable", "prefer", "require"}},
      {"target_session_attrs", {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}},
      {"ssl_min_protocol_version", {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}},
      {"ssl_max_protocol_version", {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}},
  };
  return rules;
}
// clang-format on

std::vector<absl::string_view> ListOf(const ConnInfo& info, const std::string& keyword) {
  const auto found = info.find(keyword);
  if (found == info.end()) return {};
  return absl::StrSplit(found->second, ',');
}

absl::Status CheckPlaces(const ConnInfo& info, absl::string_view way_out) {
  const auto hosts = ListOf(info, "host");
  const auto addresses = ListOf(info, "hostaddr");
  const auto ports = ListOf(info, "port");
  if (!std::all_of(hosts.begin(), hosts.end(), IsHost) ||
      !std::all_of(addresses.begin(), addresses.end(), IsHost)) {
    return Malformed("the host is no name or address of one", way_out);
  }
  if (!std::all_of(ports.begin(), ports.end(), IsPort)) {
    return Malformed(
        "the port, which stands behind the host and a colon, is no number from 1 to 65535",
        way_out);
  }
  const std::size_t places = std::max({hosts.size(), addresses.size(), std::size_t{1}});
  if (!hosts.empty() && !addresses.empty() && hosts.size() != addresses.size()) {
    return Malformed("it has not as many addresses as hosts", "give one for each host, or none");
  }
  if (ports.size() > 1 && ports.size() != places) {
    return Malformed("it has not as many ports as hosts", "give one for each host, or one for all");
  }
  return absl::OkStatus();
}

absl::Status CheckValues(const ConnInfo& info) {
  for (const Rule& rule : Rules()) {
    const auto said = info.find(std::string(rule.keyword));
    if (said == info.end() || said->second.empty()) continue;
    if (rule.words.empty() && !IsNumber(said->second)) {
      return Malformed(absl::StrCat(rule.keyword, " is no number"), "give it one");
    }
    if (!rule.words.empty() &&
        std::find(rule.words.begin(), rule.words.end(), said->second) == rule.words.end()) {
      return Malformed(absl::StrCat(rule.keyword, " is none of those that libpq knows"),
                       absl::StrCat("give it ", absl::StrJoin(rule.words, ", ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ConnInfo> ParseConnInfo(const std::string& dsn) {
  const absl::string_view url = UrlOf(dsn);
  if (url.data() != nullptr) {
    if (absl::Status status = CheckUrl(url); !status.ok()) return status;
  }
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
      PQconninfoParse(dsn.c_str(), /*errmsg=*/nullptr), PQconninfoFree);
  if (options == nullptr) return Unreadable(url);
  ConnInfo info;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) info.emplace(option->keyword, option->val);
  }
  const absl::string_view way_out = url.data() == nullptr ? kQuote : kEncode;
  if (absl::Status status = CheckPlaces(info, way_out); !status.ok()) return status;
  if (absl::Status status = CheckValues(info); !status.ok()) return status;
  return info;
}

}  // namespace sessiond::db
