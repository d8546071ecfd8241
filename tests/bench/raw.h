// What groups could give: the rows that the daemon writes, straight into PostgreSQL.
#pragma once

#include <string>

namespace sessiond::bench {

// Reads one command a line from stdin and prints one JSON object a line, until stdin ends:
//
//   advance GROUP SECONDS         the rows of AdvanceSession, GROUP sessions a commit
//   create GROUP SECONDS          of CreateSession
//   messages256 GROUP SECONDS     of AppendMessages, of one message of 256 bytes
//
// each as one statement, one round trip and one commit a group, on one connection. `db` is the
// database as libpq names it; prepare.sql has made the sessions that are changed. Prints how many
// changes were made, and how many a second. Answers the exit code: 0, or 1 after a sentence on
// stderr.
int RunRaw(const std::string& db);

}  // namespace sessiond::bench
