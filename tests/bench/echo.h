// What gRPC costs by itself: a service with SessionService's messages and nothing behind them.
#pragma once

#include <string>

namespace sessiond::bench {

// Serves CreateSession, AdvanceSession, UpdateSession and GetSession on `address`, answering each
// at once with a session of common size, until stdin ends. One thread on one completion queue, as
// few as a server can have. Answers the exit code: 0, or 1 after a sentence on stderr (the address
// cannot be listened on).
int RunEcho(const std::string& address);

}  // namespace sessiond::bench
