// Addresses to listen on, as people write them: `127.0.0.1:7377`, `localhost:7377`, `[::1]:7377`,
// `0.0.0.0:0`, `unix:/run/sessiond/sessiond.sock`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond {

struct Address {
  // Without brackets.
  std::string host;
  // 0: any free one.
  int port = 0;
  // Of a unix socket, which has no host and no port.
  std::string path = {};

  bool is_unix() const { return !path.empty(); }
};

// INVALID_ARGUMENT: neither HOST:PORT nor unix:PATH.
absl::StatusOr<Address> ParseAddress(absl::string_view text);
// One or more, with commas between them.
absl::StatusOr<std::vector<Address>> ParseAddresses(absl::string_view text);

// With brackets where they are needed.
std::string ToString(const Address& address);

// With commas.
std::string ToString(const std::vector<Address>& addresses);

// Whether only this machine can reach it: unix sockets, localhost, 127.0.0.0/8 and ::1.
bool IsLoopback(const Address& address);

// Binds the address and releases it again. ALREADY_EXISTS: another process listens there; the
// sentence names the process if it can be seen, and `option`, with the next port that is free and
// not `reserved`, which is for something else. UNAVAILABLE: it cannot be bound.
absl::Status ProbeAddress(const Address& address, absl::string_view option, int reserved = 0);

// Whether it is the origin of web pages (RFC 6454) as browsers write it: a scheme, a host, perhaps
// a port, and nothing behind it.
bool IsOrigin(absl::string_view text);

}  // namespace sessiond
