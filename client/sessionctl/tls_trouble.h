// Why no connection came about, where TLS may be the reason: gRPC says little more than that.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/sessionctl/connection.h"

namespace sessiond::ctl {

struct Trouble {
  std::string sentence;
  std::vector<std::string> next;  // What to do.
};

// Makes a handshake of its own with the daemon, which takes 4 s at most, and says what is wrong:
// TLS on one side only, a certificate that was issued by somebody unknown, for another name, for
// another time, or one of the client's that is missing or refused. Nothing when it finds none of
// these.
std::optional<Trouble> FindTlsTrouble(const Connection& connection);

}  // namespace sessiond::ctl
