// The daemon that most people would write, to be measured beside this one.
#pragma once

#include <string>

namespace sessiond::bench {

struct NaiveOptions {
  // Of a database that sessiond has migrated, with the benchmark's sequence (prepare.sql) in it.
  std::string db;
  // How many transactions there can be at once.
  int connections = 32;
  std::string listen = "127.0.0.1:0";
};

// Serves CreateSession, GetSession, UpdateSession, AdvanceSession and AppendMessages until stdin
// ends. Prints {"port": N} when it can be called. Answers the exit code: 0, or 1 after a sentence
// on stderr (the address cannot be listened on, the database not be reached).
int RunNaive(const NaiveOptions& options);

}  // namespace sessiond::bench
