// Readers of WatchSessions, to be opened while others write: what they were told, and when.
#pragma once

#include <string>

namespace sessiond::bench {

struct WatchOptions {
  // Where the daemon listens, as gRPC names it.
  std::string target;
  // How many connections the watches are spread over. A daemon takes 1,000 streams on one.
  int channels = 4;
};

// Reads one command a line from stdin and prints one JSON object a line, until stdin ends:
//
//   open all N             watches that see every session of the namespace `default`
//   open share N           watches of which each sees one team's: `team-0`, …, `team-(N-1)`. A
//                          session that moves from one team to another is told of to both.
//   open nothing N         watches whose filter matches no session
//   collect FILE SECONDS   writes a line for each change that a watch of the first two kinds is
//   told
//                          of in that time: all or share, session_id, sequence, and when it was
//                          read, in microseconds since the epoch; separated by tabs
//   close                  ends all watches
//
// `open` answers when the watches are open: everything committed from then on is told to them. They
// are read all the time, whether or not it is collected. Answers the exit code: 0, or 1 after a
// sentence on stderr (a command that cannot be understood, a watch that has ended by itself, or not
// opened within 20 seconds).
int RunWatch(const WatchOptions& options);

}  // namespace sessiond::bench
