// The naive daemon's way to its database: a pool of blocking connections with prepared statements,
// and rows as messages.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "google/protobuf/struct.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"
#include "tests/bench/libpq.h"

namespace sessiond::bench {

// As many calls at once as there are connections; others wait for one.
class Pool {
 public:
  Pool(const std::string& conninfo, int connections);

  // Goes back to the pool by itself.
  using Lease = std::unique_ptr<Connection, std::function<void(Connection*)>>;

  Lease Take() {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [this] { return !free_.empty(); });
    Connection* connection = free_.back().release();
    free_.pop_back();
    return Lease(connection, [this](Connection* returned) {
      {
        const std::lock_guard guard(mutex_);
        free_.emplace_back(returned);
      }
      returned_.notify_one();
    });
  }

  // As a parameter.
  std::string PartitionOf(const std::string& id) const;

 private:
  int partitions_ = 0;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Connection>> free_;
};

// A transaction on a connection of its own, rolled back unless it is committed. All of it throws
// std::runtime_error with what PostgreSQL says.
class Transaction {
 public:
  explicit Transaction(Pool& pool) : pool_(pool), connection_(pool.Take()) {
    connection_->Run("begin", {});
  }
  ~Transaction();

  // Partition and id of the session are the statement's first parameters.
  Rows Run(const std::string& statement, const std::string& session_id,
           std::vector<std::string> parameters = {});

  // Answers whether the request is new. It is not any more. Creations are about no session.
  bool Remember(const std::string& request_id, const std::string& payload,
                const std::string& about_session, const std::string& session_id);
  // The session that the request created before.
  std::string CreatedBefore(const std::string& request_id);

  // `before` is the session before the change; an empty one before its creation.
  void InsertEvent(v1::SessionEvent::Type type, const v1::Session& before, const v1::Session& after,
                   const std::string& reason, const std::string& request_id,
                   const google::protobuf::Struct& changes);

  void Commit();

 private:
  Pool& pool_;
  const Pool::Lease connection_;
  bool committed_ = false;
};

// A whole session.
v1::Session ReadSession(const Rows& rows);
// What the statement `lock` answers: what decides over a change.
v1::Session ReadLocked(const Rows& rows);

std::string ToJson(const google::protobuf::Struct& fields);

// What the daemon reads from its workflows. Empty when there is no such workflow.
std::string FirstStage(const std::string& workflow);
std::string CounterOf(const std::string& workflow);

std::string DrawId();

}  // namespace sessiond::bench
