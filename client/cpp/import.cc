// AdminClient::ImportSessions: a stream that is always kept busy, and opened again when it breaks.
//
//   next() ─▶ feeder ─▶ window: [answered? … sent | not sent yet …] ─▶ writer ─▶ daemon
//                                  ▲                                               │
//   answered() ◀── the caller's thread ◀───────────────────────────────────────────┘
//
// Responses come in the order of sending, so each belongs to the first request of the window. A new
// stream sends the window again from its start; sessions that the daemon imported before the old
// one broke are then ALREADY_THERE.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "backoff.h"
#include "sessiond/client.h"
#include "steady_time.h"

namespace sessiond {
namespace {

using Request = v1::ImportSessionsRequest;
using Response = v1::ImportSessionsResponse;
using Stream = grpc::ClientReaderWriterInterface<Request, Response>;

// Enough for the daemon to commit in large groups, and a limit on what both sides hold.
constexpr std::size_t kWindowItems = 256;
constexpr std::size_t kWindowBytes = 8 << 20;

// Temporary refusals. Sent as names, because the reason in a response is one.
bool IsTemporary(const Response& response) {
  static constexpr v1::ErrorReason kReasons[] = {
      v1::CONFLICT, v1::OVERLOADED, v1::DATABASE_UNAVAILABLE, v1::LOCK_TIMEOUT, v1::DRAINING};
  return response.result() == Response::REFUSED &&
         std::any_of(std::begin(kReasons), std::end(kReasons), [&](v1::ErrorReason reason) {
           return response.reason() == v1::ErrorReason_Name(reason);
         });
}

class Import {
 public:
  Import(v1::AdminService::StubInterface& stub, const CallOptions& options,
         std::function<absl::StatusOr<std::optional<Request>>()> next,
         std::function<void(const Response&)> answered, std::function<void()> given_up)
      : stub_(stub),
        options_(options),
        next_(std::move(next)),
        answered_(std::move(answered)),
        tell_given_up_(std::move(given_up)),
        backoff_(options.backoff_initial, options.backoff_max) {}

  absl::Status Run() {
    std::thread feeder([this] { Feed(); });
    absl::Status status;
    do {
      status = OneStream();
    } while (absl::IsUnavailable(status) && Pause(status));
    if (absl::IsUnavailable(status) && options_.stop.stop_requested()) {
      status = absl::CancelledError("The import was ended between two attempts");
    }
    {
      const std::lock_guard lock(mutex_);
      given_up_ = true;
      changed_.notify_all();
    }
    if (!status.ok()) tell_given_up_();
    feeder.join();
    const std::lock_guard lock(mutex_);
    return status.ok() ? source_status_ : status;
  }

 private:
  // Fills the window until there are no more requests.
  void Feed() {
    while (true) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return MayFeed(); });
        if (given_up_) return;
      }
      absl::StatusOr<std::optional<Request>> request = next_();
      const std::lock_guard lock(mutex_);
      if (!request.ok() || !request->has_value()) {
        source_status_ = request.status();
        source_ended_ = true;
        changed_.notify_all();
        return;
      }
      Push(std::make_shared<const Request>(*std::move(*request)));
    }
  }

  // One stream, from the window's start until all is answered or it breaks.
  absl::Status OneStream() {
    grpc::ClientContext context;
    if (options_.prepare) options_.prepare(context);
    {
      const std::lock_guard lock(mutex_);
      sent_ = 0;
      broken_ = false;
    }
    const std::unique_ptr<Stream> stream = stub_.ImportSessions(&context);
    const std::stop_callback cancel(options_.stop, [&context] { context.TryCancel(); });
    std::thread writer([this, &stream] { Send(*stream); });
    absl::Status wrong;
    for (Response response; wrong.ok() && stream->Read(&response);) wrong = Take(response);
    if (!wrong.ok()) context.TryCancel();
    {
      const std::lock_guard lock(mutex_);
      broken_ = true;
      changed_.notify_all();
    }
    writer.join();
    const absl::Status status = DecodeStatus(stream->Finish());
    if (!wrong.ok()) return wrong;
    const std::lock_guard lock(mutex_);
    if (!status.ok() || AllAnswered()) return status;
    return absl::InternalError("The daemon ended the import before it had answered for all");
  }

  void Send(Stream& stream) {
    while (true) {
      std::shared_ptr<const Request> request;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return MaySend(); });
        while (!broken_ && !pause_.passed()) {
          WaitAtMost(changed_, lock, pause_.left(), [this] { return broken_; });
        }
        if (broken_) return;
        if (sent_ < window_.size()) request = window_[sent_++];
      }
      if (request == nullptr) {
        stream.WritesDone();
        return;
      }
      if (!stream.Write(*request)) return;  // The reader learns why.
    }
  }

  // Takes one response. Not OK when it does not match the request, or when the time limit has
  // passed.
  absl::Status Take(const Response& response) {
    const bool temporary = IsTemporary(response);
    {
      const std::lock_guard lock(mutex_);
      if (sent_ == 0 || response.line() != window_.front()->line()) {
        return absl::InternalError(
            absl::StrCat("The daemon answered for line ", response.line(), " out of order"));
      }
      std::shared_ptr<const Request> request = std::move(window_.front());
      window_.pop_front();
      --sent_;
      window_bytes_ -= request->ByteSizeLong();
      if (temporary) Push(std::move(request));
      // Many were being sent when the first of them was refused: one pause for all of them.
      changed_.notify_all();
      if (temporary && !pause_.passed()) return absl::OkStatus();
    }
    if (!temporary) {
      trouble_.reset();
      backoff_.Reset();
      answered_(response);
      return absl::OkStatus();
    }
    const absl::Status why =
        absl::UnavailableError(absl::StrCat(response.reason(), ": ", response.description()));
    const absl::Duration pause = NextPause(why);
    if (pause == absl::InfiniteDuration()) return why;
    const std::lock_guard lock(mutex_);
    pause_ = Deadline(pause);
    return absl::OkStatus();
  }

  // Waits before the next stream. False when the time limit has passed, or a stop is requested.
  bool Pause(const absl::Status& why) {
    const absl::Duration pause = NextPause(why);
    if (pause == absl::InfiniteDuration()) return false;
    return SleepFor(pause, options_.stop);
  }

  // The pause after an error; infinite when nothing was answered for as long as a call may take.
  absl::Duration NextPause(const absl::Status& why) {
    if (!trouble_.has_value()) trouble_.emplace(options_.timeout);
    const absl::Duration pause = backoff_.Next(why);
    if (pause >= trouble_->left()) return absl::InfiniteDuration();
    if (options_.on_retry) options_.on_retry(why, pause);
    return pause;
  }

  void Push(std::shared_ptr<const Request> request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    window_bytes_ += request->ByteSizeLong();
    window_.push_back(std::move(request));
    changed_.notify_all();
  }
  bool AllAnswered() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return source_ended_ && window_.empty();
  }
  bool MayFeed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return given_up_ || (window_.size() < kWindowItems && window_bytes_ < kWindowBytes);
  }
  bool MaySend() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return broken_ || sent_ < window_.size() || AllAnswered();
  }

  v1::AdminService::StubInterface& stub_;
  const CallOptions options_;
  const std::function<absl::StatusOr<std::optional<Request>>()> next_;  // Feeder only.
  const std::function<void(const Response&)> answered_;                 // Caller's thread only.
  const std::function<void()> tell_given_up_;

  // Caller's thread only.
  Backoff backoff_;
  std::optional<Deadline> trouble_;  // While there are errors: until when to retry.

  std::mutex mutex_;
  std::condition_variable changed_;  // Any change of the following.
  // Oldest first; the first `sent_` were sent on the present stream.
  std::deque<std::shared_ptr<const Request>> window_ ABSL_GUARDED_BY(mutex_);
  std::size_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t window_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Deadline pause_ ABSL_GUARDED_BY(mutex_) = Deadline(absl::ZeroDuration());  // Before the next.
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool source_ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status source_status_ ABSL_GUARDED_BY(mutex_);
  bool given_up_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::Status AdminClient::ImportSessions(
    std::function<absl::StatusOr<std::optional<v1::ImportSessionsRequest>>()> next,
    std::function<void(const v1::ImportSessionsResponse&)> answered,
    std::function<void()> given_up) const {
  return Import(*stub_, options_, std::move(next), std::move(answered), std::move(given_up)).Run();
}

}  // namespace sessiond
