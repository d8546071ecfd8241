#include "server/rpc/dispatcher.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

// The deadline of a call without one; a deadline later than the longest is cut.
constexpr absl::Duration kDeadlineDefault = absl::Seconds(15);
constexpr absl::Duration kDeadlineMax = absl::Seconds(60);

absl::Status StreamDraining() { return Draining("Go on at another one, behind the last answer."); }

}  // namespace

SteadyTime DeadlineWithout(SteadyTime now) { return now + kDeadlineDefault; }
SteadyTime LatestDeadline(SteadyTime now) { return now + kDeadlineMax; }

absl::Status MissingMessage() {
  return Refusal(v1::INVALID_FIELD,
                 "The call has no request message: send one, which may be empty, before the end of "
                 "the stream.");
}

Dispatcher::Dispatcher(std::vector<Method> methods, Gate* gate, Metrics& metrics, Journal& journal,
                       Capacity capacity)
    : methods_(std::move(methods)), gate_(gate), capacity_(std::move(capacity)), journal_(journal) {
  rows_.reserve(methods_.size());
  for (const Method& method : methods_) {
    const std::string& service = method.descriptor->service()->full_name();
    const std::string& name = method.descriptor->name();
    const bool changes =
        method.stream == nullptr && method.descriptor->options().idempotency_level() !=
                                        google::protobuf::MethodOptions::NO_SIDE_EFFECTS;
    rows_.push_back({&method, &metrics.Method(service, name), changes,
                     db::ImportanceOf(method.descriptor->input_type())});
    by_path_.emplace(absl::StrCat("/", service, "/", name), &rows_.back());
  }
}

const Dispatcher::Row* Dispatcher::Find(absl::string_view path) const {
  const auto found = by_path_.find(path);
  return found == by_path_.end() ? nullptr : found->second;
}

void Dispatcher::AwaitCalls(SteadyTime end) {
  std::unique_lock<std::mutex> lock(mutex_);
  WaitAtMost(end - SteadyTime::Now(), last_ended_, lock, [this] { return running_ == 0; });
}

Dispatcher::Call::Call(Dispatcher& dispatcher, const Row& row)
    : dispatcher_(dispatcher), row_(row) {
  row_.metrics->Started();
  if (!row_.streams()) ++dispatcher_.running_;
}

Dispatcher::Call::~Call() {
  if (stream_ != nullptr) dispatcher_.streams_.Leave(*stream_);
  if (row_.streams() || --dispatcher_.running_ > 0 || !dispatcher_.draining_) return;
  const std::lock_guard<std::mutex> lock(dispatcher_.mutex_);
  dispatcher_.last_ended_.notify_all();
}

absl::Status Dispatcher::Call::Admit(const Caller& caller, db::Deadline deadline, int64_t bytes) {
  if (deadline.time <= begin_)
    return absl::DeadlineExceededError("The deadline had passed when the call arrived.");
  if (dispatcher_.draining_ && !row_.streams()) return Draining();
  if (dispatcher_.gate_ != nullptr)
    admission_ = dispatcher_.gate_->Admit(caller, row_.method->descriptor, bytes);
  if (!admission_.status.ok()) return admission_.status;
  if (row_.changes) {
    absl::Status refused = dispatcher_.capacity_(deadline.time, row_.importance);
    if (!refused.ok()) return refused;
  }
  info_.asker.deadline = deadline;
  info_.TakePrincipal(admission_.principal);
  return absl::OkStatus();
}

absl::Status Dispatcher::Call::Received(int64_t bytes) {
  if (admission_.principal == nullptr) return absl::OkStatus();
  auto held = admission_.principal->usage->AdmitMessage(admission_.principal->limits, bytes);
  if (held.ok()) received_ = *std::move(held);
  return held.status();
}

Awaitable<Bytes> Dispatcher::Call::Handle(grpc::ByteBuffer& request) {
  return row_.method->handle(std::move(info_), request);
}

StreamSet::Check Dispatcher::Call::MayGoOn(const Caller& caller) const {
  if (dispatcher_.gate_ == nullptr) return [] { return absl::OkStatus(); };
  return [gate = dispatcher_.gate_, credentials = caller.credentials(),
          principal = admission_.principal] { return gate->Check(credentials, *principal); };
}

// gRPC itself ends a stream at its deadline.
Awaitable<absl::Status> Dispatcher::Call::Stream(const Caller& caller, RawStream& stream) {
  absl::Status status =
      Admit(caller, db::Deadline(SteadyTime::InfiniteFuture(), &stream.news()->over), 0);
  if (!status.ok()) co_return status;
  if (!dispatcher_.streams_.Join(stream, MayGoOn(caller))) co_return StreamDraining();
  stream_ = &stream;
  Awaitable<absl::Status> handling = row_.method->stream(std::move(info_), stream);
  status = co_await handling;
  absl::Status end = dispatcher_.streams_.EndOf(stream);
  if (!end.ok()) {
    status = std::move(end);
  } else if (stream.draining() && status.ok()) {
    status = StreamDraining();
  }
  if (status.ok() && !stream.heard() && !row_.method->descriptor->client_streaming())
    status = MissingMessage();
  if (stream.over()) status = absl::CancelledError("The client has left.");
  co_return status;
}

google::rpc::Status Dispatcher::Call::End(const absl::Status& status) {
  const bool left = row_.streams() && absl::IsCancelled(status);
  if (!status.ok() && !left) {
    dispatcher_.journal_.Refused(row_.method->descriptor->name(), admission_.principal.get(),
                                 status);
  }
  google::rpc::Status seen = ToRpcStatus(status);
  row_.metrics->Handled(seen.code(), SteadyTime::Now() - begin_);
  return seen;
}

}  // namespace sessiond::rpc
