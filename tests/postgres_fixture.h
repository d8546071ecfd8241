// One private PostgreSQL for all `*_pgtest.cc` files, which link into one binary: initdb takes a
// second, a copy of a migrated database 50 ms, and so every test has a database of its own.
//
//   TEST(SessionStore, …) {
//     TestDatabase database;
//     … database.dsn() …
//   }
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"
#include "db/postgres/embedded_postgres.h"
#include "db/postgres/postgres_supervisor.h"

namespace sessiond {

// By now nothing takes so long but a hang.
inline SteadyTime TestDeadline() { return SteadyTime::Now() + absl::Seconds(30); }

// The PostgreSQL of all tests, started by the first who asks, not durable, gone when the tests end.
db::EmbeddedPostgres& TestCluster();

// A supervisor for a test that runs a PostgreSQL of its own. It serves one at a time.
db::PostgresSupervisor& SpareSupervisor();

// This binary, started with this word and a data directory, prints the pid of a PostgreSQL of its
// own there, and stays until it is killed.
inline constexpr char kOwnPostgres[] = "--own-postgres";

// A database of one test: made with it, and dropped with it however many are still connected.
class TestDatabase {
 public:
  enum class Schema { kMigrated, kEmpty };
  explicit TestDatabase(Schema schema = Schema::kMigrated);
  // One that is there, of a server that the test runs itself; it is not dropped.
  explicit TestDatabase(std::string dsn) : dsn_(std::move(dsn)) {}
  ~TestDatabase();
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  // A libpq connection string.
  const std::string& dsn() const { return dsn_; }
  // A connection to it, with nothing prepared.
  std::unique_ptr<db::Connection> Connect() const;
  // Runs one query, whose first row's first column is text.
  std::string Ask(const std::string& sql) const;
  // Whether it lets new connections in. Those that are there stay.
  void LetIn(bool anybody) const;

 private:
  std::string name_;
  std::string dsn_;
};

}  // namespace sessiond
