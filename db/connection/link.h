// A connection that is reopened when it is lost, and that leads to today's primary. Everything that
// uses the database while the daemon runs has a link of its own: lanes, reads, pools, the sweeper,
// the probe. They have in common how they connect, when they retry, what is logged, and two
// questions:
//
//   What does it lead to?   asked when it is opened, and once per second of use, in the same round
//                           trip as the statements sent then: answers of a server that is not
//                           today's primary are discarded. Whether it lacks changes is asked only
//                           when it is opened: a primary loses none while it runs
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
  // `application_name` is also its name in the log.
  ConnectionOptions connection;
  // What the process knows about the database.
  std::shared_ptr<Primary> primary;
  // False for links that only read: that works on a primary that is read-only for now.
  bool writes = true;
  // Whether it keeps asking for the partitions' positions, so that commits of other daemons are
  // seen, too. It waits if another transaction has locked that table.
  bool watches_positions = false;
  // True if the owner logs the link's state itself.
  bool quiet = false;
  // The longest an attempt to connect may take: a second for a host that hangs, and another for one
  // that does not. After one that a server took on and did not finish in time, the next may take
  // twice as long, up to eight times: it may be slow, and all links together keep it busy.
  absl::Duration connect_timeout = absl::Seconds(2);
  // How long a second connection may take to find out about this one's silence.
  absl::Duration find_out_time = absl::Seconds(1);
};

// Used by one thread.
class Link {
 public:
  explicit Link(LinkOptions options);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Connects, if there is no connection, or if the one there is was found not to lead to today's
  // primary. After a failed attempt the next is made after a pause, or once another link has
  // succeeded; until then this returns at once. UNAVAILABLE, or what Connection::Open returns.
  absl::Status Connect(SteadyTime deadline = SteadyTime::InfiniteFuture());
  bool connected() const { return held_.connection != nullptr && held_.connection->alive(); }

  // REQUIRES: connected.
  Connection& operator*() const { return *held_.connection; }
  Connection* operator->() const { return held_.connection.get(); }

  // Each statement that is queued from here to the next RoundTrip may take as long as is left until
  // then, if that is less than `usual`, the connection's own limit: nothing runs on for callers
  // whose deadlines have passed. REQUIRES: connected; none is queued yet.
  void LimitStatements(SteadyTime until, absl::Duration usual);
  // Connection::RoundTrip. UNAVAILABLE also if the connection does not lead to today's primary:
  // then the results of the round trip are discarded. An unusable connection is closed.
  absl::StatusOr<std::vector<Result>> RoundTrip(SteadyTime deadline);

  void Close() {
    held_ = {};
    limited_ = false;
  }

  // How often it was opened: what was cached before the last time is void.
  int openings() const { return openings_; }
  // InfiniteFuture while it is connected, or if it has not been needed yet.
  SteadyTime lost_since() const { return lost_since_; }
  // When the next attempt to connect is due.
  SteadyTime next_attempt() const { return next_attempt_; }

 private:
  // A connection, and what it leads to.
  struct Held {
    std::unique_ptr<Connection> connection;
    int32_t timeline = 0;
    // The backend, and its server's start time, which distinguishes it from another server's.
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
  // The next round trip begins with a statement of our own.
  bool limited_ = false;
  // Whether the role may ask for less only (ask_server_less.sql).
  bool asks_less_ = false;

  int openings_ = 0;
  SteadyTime lost_since_ = SteadyTime::InfiniteFuture();
  // The result of the last attempt to connect.
  absl::Status why_;
  SteadyTime next_attempt_ = SteadyTime::InfinitePast();
  absl::Duration pause_;
  absl::Duration attempt_max_;
  // How many links had connected when the last attempt failed.
  int64_t openings_of_all_ = 0;
};

}  // namespace sessiond::db
