// All streams that are being served: ended when their callers may no longer see what they watch,
// and when the daemon drains.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/stream.h"

namespace sessiond::rpc {

// Thread-safe.
class StreamSet {
 public:
  // Whether a stream may go on.
  using Check = std::function<absl::Status()>;

  // False: the daemon drains; the stream is not added. An added stream must leave.
  bool Join(RawStream& stream, Check check);
  void Leave(RawStream& stream);
  // What the last check said of it. REQUIRES: it has joined.
  absl::Status EndOf(RawStream& stream);

  // Ends the streams that may not go on. One that has not ended by the next call is cut off.
  void CheckAll();

  // Notifies every stream to end, adds no more, and waits for their ends, for `patience` at most:
  // one whose reader has stopped reading does not end by itself.
  void Drain(absl::Duration patience);

 private:
  std::mutex mutex_;
  // Guarded by the mutex.
  bool draining_ = false;
  struct Joined {
    std::shared_ptr<const Check> check;
    // The status to end with.
    absl::Status end;
  };
  absl::flat_hash_map<RawStream*, Joined> streams_;
  std::condition_variable left_;
};

}  // namespace sessiond::rpc
