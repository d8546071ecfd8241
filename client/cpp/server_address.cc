#include "server_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sessiond {
namespace {

constexpr int kDefaultPort = 7377;

absl::Status Refused(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" ", what));
}

bool IsIpv6(absl::string_view host) {
  // It may be followed by an interface, fe80::1%eth0.
  const std::string address(host.substr(0, host.find('%')));
  std::array<unsigned char, sizeof(in6_addr)> unused;
  return inet_pton(AF_INET6, address.c_str(), unused.data()) == 1;
}

std::optional<int> ParsePort(absl::string_view text) {
  int port = 0;
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  if (!digits || !absl::SimpleAtoi(text, &port) || port < 1 || port > 65535) return std::nullopt;
  return port;
}

bool IsHostName(absl::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  });
}

// `text` is the input, for the error message; `rest` the part of it with host and port.
absl::StatusOr<std::string> ParseHostAndPort(absl::string_view text, absl::string_view rest) {
  if (absl::StartsWith(rest, "[")) {
    const std::size_t end = rest.find(']');
    const absl::string_view host = rest.substr(1, end == rest.npos ? rest.npos : end - 1);
    absl::string_view port = end == rest.npos ? "" : rest.substr(end + 1);
    if (end == rest.npos || !IsIpv6(host) || (!port.empty() && port[0] != ':')) {
      return Refused(text, "is no address: an IPv6 one is written [::1]:7377");
    }
    if (port.empty()) return absl::StrCat(rest, ":", kDefaultPort);
    port.remove_prefix(1);
    if (!ParsePort(port).has_value()) {
      return Refused(
          text, absl::StrCat("has no port from 1 to 65535 behind its last colon; write [", host,
                             "]:7377"));
    }
    return std::string(rest);
  }
  const std::size_t colon = rest.rfind(':');
  const absl::string_view host = rest.substr(0, colon);
  if (IsIpv6(rest)) {
    if (IsIpv6(host) && ParsePort(rest.substr(colon + 1)).has_value()) {
      return Refused(text, absl::StrCat("can be read in two ways; write [", host,
                                        "]:", rest.substr(colon + 1), ", or [", rest, "]:7377"));
    }
    return absl::StrCat("[", rest, "]:", kDefaultPort);
  }
  if (absl::StrContains(host, ':')) {
    return Refused(text,
                   "has more than one colon: a daemon is named by HOST:PORT, for example "
                   "127.0.0.1:7377, and an IPv6 address by [::1]:7377");
  }
  if (!IsHostName(host)) {
    return Refused(text,
                   "names no host; write HOST:PORT, for example 127.0.0.1:7377, or unix:PATH");
  }
  if (colon == rest.npos) return absl::StrCat(host, ":", kDefaultPort);
  if (!ParsePort(rest.substr(colon + 1)).has_value()) {
    return Refused(
        text, absl::StrCat("has no port from 1 to 65535 behind its colon; write ", host, ":7377"));
  }
  return std::string(rest);
}

// The paths of `unix:` and its relatives.
absl::StatusOr<std::string> ParseSocket(absl::string_view text, absl::string_view scheme) {
  absl::string_view path = text.substr(scheme.size());
  absl::ConsumePrefix(&path, "//");
  if (path.empty()) {
    return Refused(text, absl::StrCat("names no socket; write ", scheme, "/run/sessiond.sock"));
  }
  return std::string(text);
}

// All but the schemes that say whether there is TLS.
absl::StatusOr<std::string> ParseTarget(absl::string_view text) {
  for (const absl::string_view scheme : {"unix:", "unix-abstract:"}) {
    if (absl::StartsWith(text, scheme)) return ParseSocket(text, scheme);
  }
  // gRPC's own schemes, which may have several addresses.
  for (const absl::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (absl::StartsWith(text, scheme) && text.size() > scheme.size()) return std::string(text);
  }
  if (absl::StartsWith(text, "dns:")) {
    // dns:HOST:PORT, dns:///HOST:PORT, dns://SERVER/HOST:PORT.
    std::size_t begin = 4;
    if (absl::StartsWith(text.substr(begin), "//")) {
      const std::size_t slash = text.find('/', begin + 2);
      begin = slash == text.npos ? text.size() : slash + 1;
    }
    auto address = ParseHostAndPort(text, text.substr(begin));
    if (!address.ok()) return address;
    return absl::StrCat(text.substr(0, begin), *address);
  }
  return ParseHostAndPort(text, text);
}

}  // namespace

absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view typed) {
  const absl::string_view text = absl::StripAsciiWhitespace(typed);
  ServerAddress address;
  absl::StatusOr<std::string> target;
  const std::size_t scheme_end = text.find("://");
  const bool of_grpc = absl::StartsWith(text, "unix") || absl::StartsWith(text, "dns:");
  if (absl::StrContains(text, '@') && !absl::StartsWith(text, "unix")) {
    // Not quoted: a password is among it.
    return absl::InvalidArgumentError(
        "the address has an @, and a daemon takes no user and no password in it; write HOST:PORT");
  }
  if (scheme_end == text.npos || of_grpc) {
    target = ParseTarget(text);
  } else {
    const std::string scheme = absl::AsciiStrToLower(text.substr(0, scheme_end));
    absl::string_view rest = text.substr(scheme_end + 3);
    absl::ConsumeSuffix(&rest, "/");
    if (scheme == "https" || scheme == "grpcs") {
      address.tls = true;
    } else if (scheme == "http") {
      address.tls = false;
    } else if (scheme != "grpc" && scheme != "tcp") {
      return Refused(text,
                     absl::StrCat("begins with a scheme that is not known here; write ", rest));
    }
    if (absl::StrContains(rest, '/')) {
      return Refused(text,
                     absl::StrCat("has a path, and a daemon has none; write ",
                                  text.substr(0, scheme_end + 3), rest.substr(0, rest.find('/'))));
    }
    target = ParseHostAndPort(text, rest);
  }
  if (!target.ok()) return target.status();
  address.target = *std::move(target);
  return address;
}

}  // namespace sessiond
