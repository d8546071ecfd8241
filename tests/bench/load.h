// The load generator: calls the daemon's services as its stdin says, and prints what came of it.
#pragma once

#include <string>

namespace sessiond::bench {

struct LoadOptions {
  // Where the daemon listens, as gRPC names it (`127.0.0.1:7377`).
  std::string target;
  // How many connections the calls are spread over.
  int channels = 2;
};

// Reads one command a line from stdin and prints one JSON object a line, until stdin ends:
//
//   prepare advance COUNT                  creates sessions that can be advanced COUNT times, and
//                                          advances each of them once
//   prepare OPERATION COUNT                creates sessions until there are COUNT to do it with
//   adopt COUNT                            has calls be about sessions that a bulk loader wrote
//   keys uniform|zipf|hot                  how calls choose their session from now on (uniform)
//   OPERATION IN_FLIGHT SECONDS [RATE [PATIENCE]]
//
//   create, advance, update, get   CreateSession, AdvanceSession, UpdateSession, GetSession
//   cold                           AdvanceSession, once for each of the sessions prepared for it
//   list                           ListSessions: the newest 20 of an owner
//   messages256, messages16k       AppendMessages: one message of so many bytes
//   tasks                          StartTask and CompleteTask by turns; each counts as one
//   errors                         RecordError
//
// update and get share their sessions, and so do the messages, and tasks and errors; create and
// list need none prepared. Keys are not for advance, cold and tasks, which take their sessions one
// after the other; of list they choose the owner. `keys hot` has all calls on one session.
//
// Session i of COUNT adopted ones is `00000000-0000-7000-9000-%012d`, of namespace `default` and
// owner `user-(i % (COUNT/20+1))`; every eighth, from 0 on, is an interview, all others are
// ticket exports, all of them active. update, get, list and messages are then about these; `adopt
// 0` goes back to those prepared here.
//
// Without RATE the loop is closed: IN_FLIGHT calls at any time, each answer followed by the next
// call. With it the loop is open: calls are due RATE times a second, whether or not earlier ones
// were answered (but never more than IN_FLIGHT at once), and a call's latency counts from when it
// was due, so that a stall is charged to every call it delayed. With PATIENCE each call has a
// deadline of so many seconds.
//
// Answers the exit code: 0, or 1 after a sentence on stderr (a command that cannot be understood,
// or a service that has not answered anything for 20 seconds).
int RunLoad(const LoadOptions& options);

}  // namespace sessiond::bench
