#include "db/query/query_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/link.h"
#include "db/connection/sql_error.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

// How long after its deadline a round trip still waits: for PostgreSQL's own report that it
// stopped, which saves the connection.
constexpr absl::Duration kStopGrace = absl::Milliseconds(50);

// For rolling back a failed transaction.
constexpr absl::Duration kRollBackTime = absl::Seconds(1);

// SQLSTATE query_canceled: statement_timeout.
constexpr absl::string_view kQueryCanceled = "57014";

constexpr absl::string_view kElsewhere = "Retry at another one.";

absl::Status DeadlineExceeded() {
  return absl::DeadlineExceededError(
      "The query took longer than the call's deadline: narrow its filter, or allow more time");
}

// `why`: the reason for no connection; with the time of the next attempt to connect.
absl::Status Unavailable(const absl::Status& why, SteadyTime next_attempt) {
  constexpr absl::Duration kSoon = absl::Milliseconds(50);
  if (!absl::IsUnavailable(why)) return why;
  return Refusal(v1::DATABASE_UNAVAILABLE, std::string(why.message()))
      .RetryAfter(std::max(next_attempt - SteadyTime::Now(), kSoon));
}

// A write is not done before it is everywhere that it must be; nor is one that was found to be
// written already, perhaps by a client that has not heard so itself. A row's lock makes this a
// commit that waits for all before it.
constexpr absl::string_view kConfirm = "SELECT FROM database_identity FOR UPDATE";

ConnectionOptions ConnectionOf(const QueryPoolOptions& options) {
  ConnectionOptions connection = {
      .dsn = options.dsn,
      .application_name = "sessiond queries",
      .settings =
          {
              // A page scans its order's index and ends after the rows that it shows; on tables
              // without statistics, or with few rows, the planner would read everything and sort.
              {"enable_seqscan", "off"},
              // One core per query: two would be all that a small machine has.
              {"max_parallel_workers_per_gather", "0"},
          },
      .statements = {},
      .keep_sql_prepared = true,
  };
  // All statements of a read-only round trip see one snapshot; writes see the current rows. If the
  // database was set to read-only, writes are refused.
  if (options.read_only) {
    connection.settings.emplace_back("default_transaction_read_only", "on");
    connection.settings.emplace_back("default_transaction_isolation", "repeatable read");
  }
  return connection;
}

}  // namespace

// One thread's connection.
class QueryPool::Worker {
 public:
  explicit Worker(const QueryPoolOptions& options)
      : writes_(!options.read_only),
        link_(
            {.connection = ConnectionOf(options), .primary = options.primary, .writes = writes_}) {}

  Results Serve(const Entry& entry) {
    const absl::Status waited_for = entry.deadline.Check(SteadyTime::Now());
    if (absl::IsDeadlineExceeded(waited_for)) return DeadlineExceeded();
    if (!waited_for.ok()) return waited_for;
    Results results = Attempt(entry);
    // The connection had died, perhaps long ago: repeating a read does no harm, and on a new
    // connection it may succeed.
    if (absl::IsUnavailable(results.status()) && sent_ && SteadyTime::Now() < entry.deadline.time) {
      results = Attempt(entry);
    }
    return results;
  }

 private:
  Results Attempt(const Entry& entry) {
    sent_ = false;
    // While the database is unreachable, callers are refused at once between attempts to connect.
    if (absl::Status connected = link_.Connect(entry.deadline.time); !connected.ok())
      return Unavailable(connected, link_.next_attempt());
    sent_ = true;
    const int64_t left_ms =
        std::max<int64_t>(1, absl::ToInt64Milliseconds(entry.deadline.time - SteadyTime::Now()));
    if (writes_) link_->QueueSql("BEGIN");
    link_->QueueSql("SELECT set_config('statement_timeout', $1, true)", {{absl::StrCat(left_ms)}});
    for (const Sql& sql : entry.statements) link_->QueueSql(sql.text, sql.params);
    if (writes_) link_->QueueSql(kConfirm);
    if (writes_) link_->QueueSql("COMMIT");
    Results results = link_.RoundTrip(entry.deadline.time + kStopGrace);
    if (results.ok() && writes_ && !IsCommitted(results->back())) results = CommitInDoubt();
    if (results.ok()) {
      const auto first = results->begin() + (writes_ ? 2 : 1);
      const auto size = static_cast<std::ptrdiff_t>(entry.statements.size());
      results->erase(first + size, results->end());
      results->erase(results->begin(), first);
      return results;
    }
    const bool out_of_time = SqlStateOf(results.status()) == kQueryCanceled;
    // Also if it is not closed yet: a server that shuts down says so first.
    if (absl::IsUnavailable(results.status()) && !out_of_time) {
      link_.Close();
    } else {
      RollBack();
    }
    if (out_of_time || SteadyTime::Now() >= entry.deadline.time) return DeadlineExceeded();
    return results;
  }

  void RollBack() {
    if (!writes_ || !link_.connected()) return;
    link_->QueueSql("ROLLBACK");
    if (!link_.RoundTrip(SteadyTime::Now() + kRollBackTime).ok()) link_.Close();
  }

  const bool writes_;
  Link link_;
  // Whether the last attempt sent its statements.
  bool sent_ = false;
};

QueryPool::QueryPool(QueryPoolOptions options) : options_(std::move(options)) {
  for (int i = 0; i < options_.connections; ++i) {
    threads_.emplace_back([this] {
      Worker worker(options_);
      while (const std::unique_ptr<Entry> entry = Next()) entry->done(worker.Serve(*entry));
    });
  }
}

QueryPool::~QueryPool() { Shutdown(); }

void QueryPool::Run(std::vector<Sql> statements, Deadline deadline, Done done) {
  auto entry = std::make_unique<Entry>();
  entry->statements = std::move(statements);
  entry->deadline = deadline;
  entry->deadline.time = std::min(deadline.time, SteadyTime::Now() + options_.round_trip_time_max);
  absl::Status refused;
  {
    absl::MutexLock lock(&mutex_);
    if (draining_) {
      refused = Draining(kElsewhere);
    } else if (waiting_.size() >= static_cast<std::size_t>(options_.waiting_max)) {
      refused = Overloaded("lists and counts");
    } else {
      entry->done = std::move(done);
      waiting_.push_back(std::move(entry));
    }
  }
  if (!refused.ok()) done(std::move(refused));
}

std::unique_ptr<QueryPool::Entry> QueryPool::Next() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return draining_ || !waiting_.empty();
  };
  mutex_.Await(absl::Condition(&ready));
  if (waiting_.empty() || draining_) return nullptr;
  std::unique_ptr<Entry> entry = std::move(waiting_.front());
  waiting_.pop_front();
  return entry;
}

void QueryPool::Shutdown() {
  std::deque<std::unique_ptr<Entry>> left;
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    left.swap(waiting_);
  }
  for (const auto& entry : left) entry->done(Draining(kElsewhere));
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace sessiond::db
