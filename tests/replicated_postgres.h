// A primary and its standby, of one test: two servers that can be stopped, started and promoted, as
// a failover does it. The standby follows by streaming, as `second`, and is as good as another.
//
//   ReplicatedPostgres servers;
//   servers.Stop(kFirst);
//   servers.Promote(kSecond);
//
// Each server is reached by a unix socket only.
#pragma once

#include <sys/types.h>

#include <string>

#include "tests/postgres_fixture.h"

namespace sessiond {

enum Server { kFirst = 0, kSecond = 1 };

class ReplicatedPostgres {
 public:
  // Both run, with the migrated database `sessiond`.
  ReplicatedPostgres();
  // Stops both, and leaves nothing.
  ~ReplicatedPostgres();
  ReplicatedPostgres(const ReplicatedPostgres&) = delete;

  // Of one of them, or of both, in this order.
  std::string dsn(Server server) const;
  std::string dsn_of_both() const { return dsn_of(kFirst, kSecond); }
  std::string dsn_of(Server one, Server other) const;
  // The path of its socket.
  std::string socket(Server server) const;
  // For questions about one of them.
  TestDatabase At(Server server) const { return TestDatabase(dsn(server)); }

  // Without a goodbye to anybody, as when its machine dies.
  void Stop(Server server);
  // Returns when it answers.
  void Start(Server server);
  // Returns when it is a primary.
  void Promote(Server server);
  // Stops following, and stays a standby.
  void StopFollowing(Server server);
  // Waits until the standby has all that the primary has by now.
  void AwaitCaughtUp(Server primary, Server standby) const;

 private:
  std::string Dir(Server server) const;

  std::string root_;
  pid_t pids_[2] = {0, 0};
};

}  // namespace sessiond
