// Where the daemon is, as people write it: HOST:PORT, HOST, [IPV6]:PORT, http://HOST:PORT,
// unix:PATH, or one of gRPC's own names (dns:///HOST:PORT, ipv4:…, ipv6:…, unix-abstract:…).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond::ctl {

// What gRPC takes, with the daemon's own port where none was given. INVALID_ARGUMENT: it names no
// daemon; the sentence says how it is written instead.
absl::StatusOr<std::string> ParseServerAddress(absl::string_view text);

}  // namespace sessiond::ctl
