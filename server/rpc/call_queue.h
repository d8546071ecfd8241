// A completion queue that counts the calls using it. gRPC regards a call as over once its client
// has gone, but our coroutine may still wait for its lane, and then finish: an operation on a queue
// that is shut down aborts.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/allocated.h"
#include "server/rpc/call.h"
#include "server/rpc/peer_waits.h"

namespace sessiond::rpc {

class CallQueue {
 public:
  explicit CallQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue, Patience patience = {})
      : queue_(std::move(queue)), waits_(*this, patience) {}

  // Starts to drive the queue, on a thread of its own.
  void Start() {
    thread_ = std::thread([this] {
      CountThisThread();
      Drive(*queue_);
    });
  }

  grpc::ServerCompletionQueue* get() { return queue_.get(); }
  // What its calls wait for from their peers.
  PeerWaits& waits() { return waits_; }

  // Held by a coroutine for as long as it may use the queue: its first local, so that it is
  // destroyed last.
  class Use {
   public:
    explicit Use(CallQueue& queue) : queue_(queue) {
      absl::MutexLock lock(&queue_.mutex_);
      ++queue_.users_;
    }
    ~Use() {
      absl::MutexLock lock(&queue_.mutex_);
      --queue_.users_;
    }
    Use(const Use&) = delete;

   private:
    CallQueue& queue_;
  };

  // Waits for the last user, and stops. REQUIRES: the server is shut down, so that no coroutine
  // waits for another call.
  void Stop() {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](int* users) { return *users == 0; }, &users_));
    }
    queue_->Shutdown();
    if (thread_.joinable()) {
      thread_.join();
    } else {
      Drive(*queue_);
    }
  }

 private:
  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  PeerWaits waits_;
  std::thread thread_;
  absl::Mutex mutex_;
  int users_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sessiond::rpc
