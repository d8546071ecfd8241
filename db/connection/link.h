// A connection that is there again when it was lost, and that belongs to today's primary. Everybody
// who speaks to the database while the daemon runs does so by a link of its own: lanes, reads,
// pools, the sweeper, the probe. What they have in common is how they connect, when they try again,
// what is logged, and two questions:
//
//   What does it lead to?   asked when it is opened, and once in a second of use, in the same trip
//                           as whatever is asked then: what another server than today's primary
//                           says is no answer. That nothing is missing from it is asked when it is
//                           opened: from a primary, nothing goes missing while it runs
//   Does it still hear us?  asked after a second of silence, by a second connection, which takes
//                           its place if it does not
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"
#include "db/connection/primary.h"

namespace sessiond::db {

struct LinkOptions {
  // `application_name` is also what it is called in the log.
  ConnectionOptions connection;
  // What the process has seen of the database.
  std::shared_ptr<Primary> primary;
  // False for who only reads, which can be done on a primary that is read-only for the time being.
  bool writes = true;
  // Whether it goes on asking how far the partitions are, so that what other daemons have committed
  // is seen, too. It waits for a lock of that table, if somebody has one.
  bool watches_positions = false;
  // For who tells himself how it stands.
  bool quiet = false;
  // The longest an attempt to connect may take: a second for a host that hangs, and as much for
  // the one that does not.
  absl::Duration connect_timeout = absl::Seconds(2);
};

// One thread's.
class Link {
 public:
  explicit Link(LinkOptions options);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Connects, if there is no connection, or one that somebody has found out not to be today's
  // primary's. After an attempt in vain the next is made after a pause, or once another link has
  // succeeded; until then this answers at once. UNAVAILABLE, or what Connection::Open says.
  absl::Status Connect(SteadyTime deadline = SteadyTime::InfiniteFuture());
  bool connected() const { return held_.connection != nullptr && held_.connection->alive(); }

  // REQUIRES: connected.
  Connection& operator*() const { return *held_.connection; }
  Connection* operator->() const { return held_.connection.get(); }

  // Connection::Trip. UNAVAILABLE also where the connection is none to today's primary: then
  // nothing of what the trip answered counts. Where it fails so that the connection is of no use
  // any more, it is closed.
  absl::StatusOr<std::vector<Result>> Trip(SteadyTime deadline);

  void Close() { held_ = {}; }

  // How often it was opened: what is remembered from the time before is void.
  int openings() const { return openings_; }
  // InfiniteFuture while it is there, or nobody has asked for it yet.
  SteadyTime lost_since() const { return lost_since_; }
  // When the next attempt to connect is due.
  SteadyTime next_attempt() const { return next_attempt_; }

 private:
  // A connection, and what it leads to.
  struct Held {
    std::unique_ptr<Connection> connection;
    int32_t timeline = 0;
    // The backend, and since when its server runs, which tells it from one of another server.
    int32_t backend_pid = 0;
    int64_t server_started = 0;
  };

  absl::StatusOr<Held> Open(SteadyTime deadline);
  void QueueQuestion(Connection& connection, bool with_positions) const;
  absl::Status TakeAnswer(const Result& answer, const Result* positions, const Seen& before,
                          Held* held);
  bool StillHears();
  void Lost(const absl::Status& why);

  const LinkOptions options_;
  Primary& primary_;

  Held held_;
  // Opened while held_ was silent: to ask about it, and to take its place.
  Held successor_;
  SteadyTime asked_;
  int64_t doubts_ = 0, silences_ = 0;
  // Whether the role may be asked only less (ask_server_less.sql).
  bool asks_less_ = false;

  int openings_ = 0;
  SteadyTime lost_since_ = SteadyTime::InfiniteFuture();
  // What came of the last attempt to connect.
  absl::Status why_;
  SteadyTime next_attempt_ = SteadyTime::InfinitePast();
  absl::Duration pause_;
  // How many links had connected when the last attempt failed.
  int64_t openings_of_all_ = 0;
};

}  // namespace sessiond::db
