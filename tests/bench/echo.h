// What gRPC costs by itself: the daemon's messages on the daemon's server, with nothing behind
// them.
#pragma once

#include <string>

namespace sessiond::bench {

// Serves CreateSession, GetSession, UpdateSession, AdvanceSession and AppendMessages on `address`,
// answering each at once with a session of common size, until stdin ends. Prints {"port": N} when
// it can be called. Answers the exit code: 0, or 1 after a sentence on stderr (the address cannot
// be listened on).
int RunEcho(const std::string& address);

}  // namespace sessiond::bench
