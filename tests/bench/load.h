// The load generator: calls SessionService as its stdin says, and prints what came of it.
#pragma once

#include <string>

namespace sessiond::bench {

struct LoadOptions {
  // Where the service listens, as gRPC names it (`127.0.0.1:7377`).
  std::string target;
  // How many connections the calls are spread over.
  int channels = 2;
};

// Reads one command a line from stdin and prints one JSON object a line, until stdin ends:
//
//   prepare advance COUNT                  creates sessions until COUNT advances can be made
//   prepare update COUNT                   creates sessions until there are COUNT to update and get
//   OPERATION IN_FLIGHT SECONDS [RATE]     OPERATION: advance, update, get
//
// Without RATE the loop is closed: IN_FLIGHT calls at any time, each answer followed by the next
// call. With it the loop is open: calls are due RATE times a second, whether or not earlier ones
// were answered (but never more than IN_FLIGHT at once), and a call's latency counts from when it
// was due, so that a stall is charged to every call it delayed.
//
// Answers the exit code: 0, or 1 after a sentence on stderr (a command that cannot be understood,
// or a service that has not answered anything for 20 seconds).
int RunLoad(const LoadOptions& options);

}  // namespace sessiond::bench
