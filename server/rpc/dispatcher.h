// What becomes of a call, whichever way it came: by gRPC (server.h) or HTTP (server/http).
//
//   transport ─▶ Admit: deadline · drain · gate · capacity
//             ─▶ Handle: the method's row
//             ─▶ End: journal · metrics
//
// Transports know bytes, connections and how a status looks on the wire. Everything else is here,
// so that it is the same for all of them.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/base/asker.h"
#include "db/base/importance.h"
#include "google/rpc/status.pb.h"
#include "server/ops/journal.h"
#include "server/ops/metrics.h"
#include "server/rpc/gate.h"
#include "server/rpc/method.h"
#include "server/rpc/stream_set.h"

namespace sessiond::rpc {

// When a call that came at `now` ends at the latest, and what counts as none and as too long.
SteadyTime DeadlineWithout(SteadyTime now);
SteadyTime LatestDeadline(SteadyTime now);

// Thread-safe.
class Dispatcher {
 public:
  struct Row {
    const Method* method;
    MethodMetrics* metrics;
    // A unary call that changes something.
    bool changes;
    db::Importance importance;

    bool streams() const { return method->stream != nullptr; }
  };

  // OVERLOADED: such a change would not be accepted now. Asked before a change is parsed.
  using Capacity = std::function<absl::Status(SteadyTime deadline, db::Importance importance)>;

  // `gate`: null, in tests: everybody may do everything. REQUIRES: all outlive the dispatcher.
  Dispatcher(
      std::vector<Method> methods, Gate* gate, Metrics& metrics, Journal& journal,
      Capacity capacity = [](SteadyTime, db::Importance) { return absl::OkStatus(); });

  // One for each method.
  const std::vector<Row>& rows() const { return rows_; }
  // By a path such as /sessiond.v1.SessionService/GetSession. Null: there is none.
  const Row* Find(absl::string_view path) const;

  // One call, from when it has arrived until it ends. REQUIRES: ends before the dispatcher.
  class Call;

  // Ends the streams whose callers may no longer see what they watch.
  void CheckStreams() { streams_.CheckAll(); }
  // From now on every new call gets UNAVAILABLE / DRAINING.
  void RefuseNewCalls() { draining_ = true; }
  bool draining() const { return draining_; }
  // Ends the streams with UNAVAILABLE / DRAINING, and waits for them, for `patience` at most.
  void DrainStreams(absl::Duration patience) { streams_.Drain(patience); }
  // Waits until `end` at most for the other calls. REQUIRES: new calls are refused.
  void AwaitCalls(SteadyTime end);

 private:
  const std::vector<Method> methods_;
  Gate* const gate_;
  const Capacity capacity_;
  Journal& journal_;
  std::vector<Row> rows_;
  absl::flat_hash_map<std::string, const Row*> by_path_;

  StreamSet streams_;
  // Calls that are not streams, and have not ended.
  std::atomic<int> running_ = 0;
  std::atomic<bool> draining_ = false;
  // Notified when the last call of a drain has ended.
  std::mutex mutex_;
  std::condition_variable last_ended_;
};

class Dispatcher::Call {
 public:
  Call(Dispatcher& dispatcher, const Row& row);
  ~Call();
  Call(const Call&) = delete;

  // Whether the call may go on; of a unary call, before anything is parsed. `bytes`: of the
  // request, as far as they are known.
  absl::Status Admit(const Caller& caller, db::Deadline deadline, int64_t bytes);

  // The request of an admitted call has come, with so many bytes of which Admit was not told.
  // RATE_LIMITED: its caller may not have as many in flight.
  absl::Status Received(int64_t bytes);

  // REQUIRES: admitted, once. The request outlives the task.
  Awaitable<Bytes> Handle(grpc::ByteBuffer& request);

  // Admits and serves a streaming call, until it ends. The stream counts as served until the call
  // is destroyed.
  Awaitable<absl::Status> Stream(const Caller& caller, RawStream& stream);

  // The call ends with this status: logged and counted. Returns it as callers may see it. Once.
  google::rpc::Status End(const absl::Status& status);

 private:
  StreamSet::Check MayGoOn(const Caller& caller) const;

  Dispatcher& dispatcher_;
  const Row& row_;
  const SteadyTime begin_ = SteadyTime::Now();
  Gate::Admission admission_;
  access::Usage::Held received_;
  CallInfo info_;
  // The stream that has joined the others.
  RawStream* stream_ = nullptr;
};

// The call has no request message.
absl::Status MissingMessage();

}  // namespace sessiond::rpc
