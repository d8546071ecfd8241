// The daemon's address, as people write it: HOST:PORT, HOST, [IPV6]:PORT, https://HOST:PORT,
// http://HOST:PORT, unix:PATH, or one of gRPC's own names (dns:///HOST:PORT, ipv4:…, ipv6:…,
// unix-abstract:…).
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond {

struct ServerAddress {
  std::string target;       // As gRPC takes it.
  std::optional<bool> tls;  // What the scheme says: https and grpcs, or http; others say nothing.
};

// The address for gRPC, with the daemon's default port if none was given. INVALID_ARGUMENT: it is
// no address of a daemon; the sentence says how to write it.
absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view text);

}  // namespace sessiond
