// Watcher: one stream after the other, each resumed where the previous one broke off.
//
//   gRPC's threads                      the thread that reads the responses
//   OnReadDone ─▶ Stream, one response ─▶ Note ─▶ the caller, or back when it is a heartbeat
//   OnDone     ─▶ its status           ─▶ Pause ─▶ the next stream, with the token
//
// Only one response is read ahead: a slow caller slows the daemon's sending down, and the daemon
// limits the cost.
#include "sessiond/watcher.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "backoff.h"
#include "grpcpp/client_context.h"
#include "sessiond/call.h"
#include "steady_time.h"
#include "token_file.h"

namespace sessiond {
namespace {

using Response = v1::WatchSessionsResponse;

// The daemon's default when the request does not set it.
constexpr absl::Duration kHeartbeatDefault = absl::Seconds(15);
// Three: one may be late, and one lost with a connection that recovers.
constexpr int kHeartbeatsMissed = 3;
// The daemon's longest read takes 30 s, and it may send nothing before that ends.
constexpr absl::Duration kSilenceMaxAtFirst = absl::Seconds(40);

// Page tokens of the range; only the last one is empty.
constexpr char kMore[] = "more";

// One stream, from its request to its status.
class Stream final : public grpc::ClientReadReactor<Response> {
 public:
  Stream(v1::SessionService::Stub& stub, const v1::WatchSessionsRequest& request,
         const WatchOptions& options)
      : request_(request) {
    if (options.prepare) options.prepare(context_);
    stub.async()->WatchSessions(&context_, &request_, this);
    AddHold();  // Reads are started outside reactions; released after the last one.
    StartRead(&reading_);
    StartCall();
  }
  // Ends it.
  ~Stream() override {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return read_ != Read::kUnderWay; });
    if (read_ == Read::kResponse) {
      lock.unlock();
      RemoveHold();
      lock.lock();
    }
    changed_.wait(lock, [this] { return done_; });
  }

  // Makes Take return CANCELLED at once. Any thread.
  void Cancel() { context_.TryCancel(); }

  // The next response. UNAVAILABLE, and `silent`, when there is none for that long; else the status
  // that the stream ended with.
  absl::StatusOr<Response> Take(absl::Duration silence_max, bool& silent) {
    Response response;
    {
      std::unique_lock lock(mutex_);
      const auto has_news = [this] { return read_ == Read::kResponse || done_; };
      silent = !WaitAtMost(changed_, lock, silence_max, has_news);
      if (silent) {
        return absl::UnavailableError(
            absl::StrCat("Nothing was heard for ", absl::FormatDuration(silence_max)));
      }
      if (read_ == Read::kNothing) return DecodeStatus(status_);
      response.Swap(&reading_);
      read_ = Read::kUnderWay;
    }
    StartRead(&reading_);
    return response;
  }

 private:
  // The result of the last read.
  enum class Read { kUnderWay, kResponse, kNothing };

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      read_ = ok ? Read::kResponse : Read::kNothing;
      changed_.notify_all();
    }
    if (!ok) RemoveHold();
  }
  void OnDone(const grpc::Status& status) override {
    const std::lock_guard lock(mutex_);
    status_ =
        status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "The stream was ended") : status;
    done_ = true;
    changed_.notify_all();  // Under the lock: the waiting thread may destroy all of this.
  }

  const v1::WatchSessionsRequest request_;
  grpc::ClientContext context_;
  Response reading_;  // gRPC's during a read, the reader's otherwise.

  std::mutex mutex_;
  std::condition_variable changed_;
  Read read_ ABSL_GUARDED_BY(mutex_) = Read::kUnderWay;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

class Watcher::Impl {
 public:
  Impl(std::shared_ptr<grpc::ChannelInterface> channel, v1::WatchSessionsRequest request,
       WatchOptions options)
      : options_(std::move(options)),
        stub_(v1::SessionService::NewStub(std::move(channel))),
        request_(std::move(request)),
        backoff_(options_.backoff_initial, options_.backoff_max),
        taken_token_(request_.resume_token()),
        resume_token_(taken_token_),
        stopped_by_caller_(options_.stop, [this] { Stop(); }) {
    if (!options_.token_file.empty()) file_status_ = LoadToken();
  }

  // The next response, as a page of its own; an empty page, the last, after Stop.
  absl::StatusOr<Page<Response>> Next() {
    if (!file_status_.ok()) return file_status_;
    if (absl::Status status = MoveOn(taken_token_); !status.ok()) return status;
    while (Stream* stream = Open()) {
      bool silent = false;
      absl::StatusOr<Response> response = stream->Take(SilenceMax(), silent);
      if (response.ok()) {
        if (!Note(*response)) {
          if (absl::Status status = MoveOn(taken_token_); !status.ok()) return status;
          continue;
        }
        Page<Response> page{.next_page_token = kMore};
        page.items.push_back(*std::move(response));
        return page;
      }
      Close();
      if (silent) Reconnect();
      if (!PassesByItself(response.status()) && !stopped()) return response.status();
      Pause(response.status());
    }
    return Page<Response>{};
  }

  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    stopping_.notify_all();
    if (stream_ != nullptr) stream_->Cancel();
  }

  std::string resume_token() const {
    const std::lock_guard lock(mutex_);
    return resume_token_;
  }

 private:
  // The present stream, or a new one; null after Stop.
  Stream* Open() {
    const std::lock_guard lock(mutex_);
    if (stopped_) return nullptr;
    if (stream_ == nullptr) {
      if (!taken_token_.empty()) {
        // The token says whether the initial state was complete. Asking for both is refused: also
        // when the caller does it.
        if (heard_) request_.set_initial_state(false);
        request_.set_resume_token(taken_token_);
      }
      stream_ = std::make_unique<Stream>(*stub_, request_, options_);
      bookmarked_ = false;
    }
    return stream_.get();
  }

  void Close() {
    std::unique_ptr<Stream> stream;
    {
      const std::lock_guard lock(mutex_);
      stream = std::move(stream_);
    }
  }

  // The old channel remains where there is no other.
  void Reconnect() {
    if (!options_.reconnect) return;
    auto channel = options_.reconnect();
    if (channel.ok()) stub_ = v1::SessionService::NewStub(*std::move(channel));
  }

  absl::Duration SilenceMax() const {
    if (options_.silence_max > absl::ZeroDuration()) return options_.silence_max;
    const auto& interval = request_.heartbeat_interval();
    const absl::Duration heartbeat =
        request_.has_heartbeat_interval()
            ? absl::Seconds(interval.seconds()) + absl::Nanoseconds(interval.nanos())
            : kHeartbeatDefault;
    const absl::Duration silence_max = kHeartbeatsMissed * heartbeat;
    return bookmarked_ ? silence_max : std::max(silence_max, kSilenceMaxAtFirst);
  }

  // Records a response. Returns whether it is for the caller.
  bool Note(const Response& response) {
    backoff_.Reset();
    heard_ = true;
    taken_token_ = response.resume_token();
    if (std::exchange(resuming_, false) && options_.on_resume) {
      options_.on_resume(/*anew=*/delivered_ && !delivered_bookmark_);
    }
    switch (response.kind_case()) {
      case Response::kSession:
      case Response::kChange:
        delivered_ = true;
        return true;
      case Response::kBookmark:
        bookmarked_ = true;
        return !std::exchange(delivered_bookmark_, true);
      default:
        return false;
    }
  }

  // Waits before the next stream, at most until Stop.
  void Pause(const absl::Status& why) {
    if (stopped()) return;
    resuming_ = true;
    const absl::Duration pause = backoff_.Next(why);
    if (options_.on_retry) options_.on_retry(why, pause);
    std::unique_lock lock(mutex_);
    WaitAtMost(stopping_, lock, pause, [this] { return stopped_; });
  }

  absl::Status MoveOn(const std::string& token) {
    {
      const std::lock_guard lock(mutex_);
      if (resume_token_ == token) return absl::OkStatus();
      resume_token_ = token;
    }
    return options_.token_file.empty() ? absl::OkStatus() : SaveToken(options_.token_file, token);
  }

  absl::Status LoadToken() {
    auto token = ReadToken(options_.token_file);
    if (!token.ok()) return token.status();
    if (token->empty()) return absl::OkStatus();
    request_.set_initial_state(false);
    const std::lock_guard lock(mutex_);
    resume_token_ = taken_token_ = *std::move(token);
    return absl::OkStatus();
  }

  bool stopped() const {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }

  const WatchOptions options_;

  // Only for the thread that reads the responses.
  std::unique_ptr<v1::SessionService::Stub> stub_;
  v1::WatchSessionsRequest request_;
  Backoff backoff_;
  std::string taken_token_;          // Of the last response, which the caller may still be using.
  bool heard_ = false;               // Any response was received.
  bool delivered_ = false;           // Any was given to the caller.
  bool delivered_bookmark_ = false;  // It was given to the caller.
  bool bookmarked_ = false;          // The present stream has sent its bookmark.
  bool resuming_ = false;            // There was an error, and no response since.
  absl::Status file_status_;         // Of reading token_file.

  mutable std::mutex mutex_;
  std::condition_variable stopping_;
  // Changed only by the thread that reads the responses.
  std::unique_ptr<Stream> stream_ ABSL_GUARDED_BY(mutex_);
  std::string resume_token_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  const std::stop_callback<std::function<void()>> stopped_by_caller_;  // The last: uses the rest.
};

Watcher::Watcher(std::shared_ptr<grpc::ChannelInterface> channel, v1::WatchSessionsRequest request,
                 WatchOptions options)
    : impl_(std::make_unique<Impl>(std::move(channel), std::move(request), std::move(options))) {}

Watcher::~Watcher() = default;

StreamRange<v1::WatchSessionsResponse> Watcher::Responses() {
  return StreamRange<Response>([impl = impl_.get()](const std::string&) { return impl->Next(); });
}

void Watcher::Stop() { impl_->Stop(); }

std::string Watcher::resume_token() const { return impl_->resume_token(); }

}  // namespace sessiond
