#include "server/rpc/server.h"

#include <grpc/support/time.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "server/ops/log.h"
#include "server/rpc/grpc_status.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

// Pending accepts for each method on each queue: enough that a burst never waits for one to be
// armed again.
constexpr int kAcceptsPerMethod = 16;
// Streams live long, and start seldom.
constexpr int kAcceptsPerStream = 2;

// The time for streams to write what is pending; only a reader that has stopped takes longer.
constexpr absl::Duration kStreamGrace = absl::Seconds(2);

// Limit for one call's metadata: keys, values, and 32 for each entry. Beyond it gRPC closes the
// whole connection, with every call and watch on it, so it is more than what proxies let through
// (nginx 32 KiB; gRPC's default is 8). Not much more: a call may use so much while it lives, and a
// connection may have 1,000 calls.
constexpr int kMetadataBytesMax = 32 << 10;

// The part of the grace in which peers have to close their connections once asked to, and its
// maximum: a live peer takes one round trip.
constexpr double kGoodbyeShare = 0.1;
constexpr absl::Duration kGoodbyeMax = absl::Milliseconds(500);

// The deadline of a call without one; a deadline later than the longest is cut.
constexpr absl::Duration kDeadlineDefault = absl::Seconds(15);
constexpr absl::Duration kDeadlineMax = absl::Seconds(60);

// In gpr's own arithmetic, which saturates: the longest timeout on the wire is beyond std::chrono.
SteadyTime DeadlineOf(const grpc::ServerContext& context) {
  const gpr_timespec given = context.raw_deadline();
  const SteadyTime now = SteadyTime::Now();
  if (gpr_time_cmp(given, gpr_inf_future(given.clock_type)) == 0) return now + kDeadlineDefault;
  const gpr_timespec left = gpr_time_sub(given, gpr_now(given.clock_type));
  const gpr_timespec longest =
      gpr_time_from_seconds(absl::ToInt64Seconds(kDeadlineMax), GPR_TIMESPAN);
  if (gpr_time_cmp(left, longest) >= 0) return now + kDeadlineMax;
  return now + absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

// In gRPC's terms, which takes std::chrono's system clock for a time of day.
gpr_timespec MonotonicDeadline(absl::Duration grace) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(absl::ToInt64Microseconds(grace), GPR_TIMESPAN));
}

absl::Status StreamDraining() { return Draining("Go on at another one, behind the last answer."); }

// What gRPC's own retries wait for (gRFC A6), beside RetryInfo.
void AddPushback(const absl::Status& status, grpc::ServerContext& context) {
  if (!absl::IsResourceExhausted(status)) return;
  if (const auto delay = RetryDelayOf(status); delay.has_value()) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms",
                                absl::StrCat(absl::ToInt64Milliseconds(*delay)));
  }
}

absl::Status MissingMessage() {
  return Refusal(v1::INVALID_FIELD,
                 "The call has no request message: send one, which may be empty, before the end of "
                 "the stream.");
}

// Clients ping more often than they send requests, every second when they want to notice soon that
// a peer is gone. gRPC's default minimum of five minutes answers that with GOAWAY (too_many_pings),
// which ends their watches. This is half of that second, because pings bunch up on their way. A
// ping costs 34 bytes and some microseconds; clients that ping faster are still disconnected after
// the third.
constexpr int kPingIntervalMinMs = 500;

void Configure(grpc::ServerBuilder& builder) {
  // Above our own limit, so that the refusal is ours and says why; gRPC's own is the backstop.
  builder.SetMaxReceiveMessageSize(2 * kMessageBytesMax);
  // A megabyte can inflate to a gigabyte before its size is checked.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  // Otherwise two daemons would silently share one port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kPingIntervalMinMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1'000);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // Channelz counts what each connection and call does, and is not served here.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
}

}  // namespace

class Server::Running {
 public:
  explicit Running(Server& server) : server_(server) { ++server_.running_; }
  ~Running() {
    if (--server_.running_ > 0 || !server_.draining_) return;
    const std::lock_guard<std::mutex> lock(server_.mutex_);
    server_.last_ended_.notify_all();
  }
  Running(const Running&) = delete;

 private:
  Server& server_;
};

struct Server::Calls {
  // One call of `served`, from when it is accepted until it ends. Once accepted it arms the next
  // one.
  static Detached Serve(Server& server, const Served& served, CallQueue& queue) {
    const CallQueue::Use use(queue);
    grpc::ServerContext context;
    RawRequest request;
    grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer(&context);
    CallOver over(context);
    Completion accepted([&](void* tag) {
      served.service->Accept(served.index, &context, &request, &writer, queue.get(), tag);
    });
    if (!co_await accepted) co_return;  // Shutting down; nothing else completes.
    const Running running(server);
    Serve(server, served, queue);

    const SteadyTime begin = SteadyTime::Now();
    served.metrics->Started();
    CallInfo call{.asker = db::Deadline(DeadlineOf(context), over.flag())};
    Gate::Admission admission;
    Bytes reply;
    if (call.asker.deadline.time <= begin) {
      reply = absl::DeadlineExceededError("The deadline had passed when the call arrived.");
    } else if (server.draining_) {
      reply = Draining();
    } else if (admission = server.Admit(context, served, request.bytes.Length());
               !admission.status.ok()) {
      reply = admission.status;
    } else if (request.missing) {
      reply = MissingMessage();
    } else {
      call.TakePrincipal(admission.principal);
      Awaitable<Bytes> handling = served.method->handle(std::move(call), request.bytes);
      reply = co_await handling;
    }
    if (!reply.ok())
      server.journal_.Refused(served.method->descriptor->name(), admission.principal.get(),
                              reply.status());
    const grpc::Status status = ToGrpcStatus(reply.status());
    AddPushback(reply.status(), context);
    served.metrics->Handled(status.error_code(), SteadyTime::Now() - begin);
    Completion finished([&](void* tag) {
      if (reply.ok()) {
        writer.Finish(*reply, status, tag);
      } else {
        writer.FinishWithError(status, tag);
      }
    });
    co_await finished;
    co_await over;
  }

  // The same for a streaming call, which lasts until its client or the daemon ends it. gRPC itself
  // ends it at its deadline.
  static Detached ServeStream(Server& server, const Served& served, CallQueue& queue) {
    const CallQueue::Use use(queue);
    grpc::ServerContext context;
    RawStream stream(context);
    Completion accepted([&](void* tag) {
      served.service->Accept(served.index, &context, &stream.wire(), queue.get(), tag);
    });
    if (!co_await accepted) co_return;  // Shutting down; nothing else completes.
    ServeStream(server, served, queue);

    const SteadyTime begin = SteadyTime::Now();
    served.metrics->Started();
    CallInfo call{.asker = db::Deadline(SteadyTime::InfiniteFuture(), &stream.news()->over)};
    const Gate::Admission admission = server.Admit(context, served, 0);
    absl::Status status = admission.status;
    if (status.ok() && !server.streams_.Join(stream, server.MayGoOn(context, admission.principal)))
      status = StreamDraining();
    if (status.ok()) {
      call.TakePrincipal(admission.principal);
      Awaitable<absl::Status> handling = served.method->stream(std::move(call), stream);
      status = co_await handling;
      absl::Status end = server.streams_.EndOf(stream);
      if (!end.ok()) {
        status = std::move(end);
      } else if (stream.draining() && status.ok()) {
        status = StreamDraining();
      }
      if (status.ok() && !stream.heard() && !served.service->StreamsRequests(served.index))
        status = MissingMessage();
    }
    if (stream.over()) status = absl::CancelledError("The client has left.");
    if (!status.ok() && !stream.over())
      server.journal_.Refused(served.method->descriptor->name(), admission.principal.get(), status);
    const grpc::Status ended = ToGrpcStatus(status);
    served.metrics->Handled(ended.error_code(), SteadyTime::Now() - begin);
    AddPushback(status, context);
    Awaitable<bool> finished = stream.Finish(ended);
    co_await finished;
    server.streams_.Leave(stream);
  }

  // Accepts calls of `served` from now on.
  static void Accept(Server& server, const Served& served, CallQueue& queue) {
    const bool streams = served.method->stream != nullptr;
    for (int i = 0; i < (streams ? kAcceptsPerStream : kAcceptsPerMethod); ++i) {
      streams ? ServeStream(server, served, queue) : Serve(server, served, queue);
    }
  }
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options, Metrics& metrics,
                                                      Journal& journal) {
  auto server = std::unique_ptr<Server>(new Server(metrics, journal));
  server->options_ = std::move(options);
  grpc::ServerBuilder builder;
  Configure(builder);
  std::vector<Listener>& listeners = server->options_.listeners;
  server->ports_.resize(listeners.size());  // gRPC writes to it as late as when it starts.
  for (std::size_t i = 0; i < listeners.size(); ++i)
    builder.AddListeningPort(listeners[i].address, listeners[i].credentials, &server->ports_[i]);
  std::map<const google::protobuf::ServiceDescriptor*, RawService*> services;
  for (const Method& method : server->options_.methods) {
    const auto* descriptor = method.descriptor->service();
    RawService*& service = services[descriptor];
    if (service == nullptr) {
      service = server->raw_services_.emplace_back(std::make_unique<RawService>(descriptor)).get();
      builder.RegisterService(service);
    }
    server->served_.push_back(
        {.method = &method,
         .metrics = &metrics.Method(descriptor->full_name(), method.descriptor->name()),
         .service = service,
         .index = method.descriptor->index()});
  }
  for (StandardService* standard : server->options_.standard_services) {
    for (grpc::Service* service : standard->services()) builder.RegisterService(service);
  }
  for (int i = 0; i < server->options_.queues; ++i)
    server->queues_.push_back(std::make_unique<CallQueue>(builder.AddCompletionQueue()));
  server->server_ = builder.BuildAndStart();
  // gRPC says 1 for a unix socket, and 0 for an address that it cannot listen on.
  const auto deaf = std::find(server->ports_.begin(), server->ports_.end(), 0);
  if (server->server_ == nullptr || deaf != server->ports_.end()) {
    if (server->server_ != nullptr) server->server_->Shutdown();
    for (auto& queue : server->queues_) queue->Stop();
    server->stopped_ = true;
    const std::size_t which = deaf == server->ports_.end() ? 0 : deaf - server->ports_.begin();
    return absl::UnavailableError(absl::StrCat("cannot listen on ", listeners[which].address));
  }
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    absl::string_view path = listeners[i].address;
    if (!absl::ConsumePrefix(&path, "unix:")) continue;
    paths.emplace_back(path);
    server->ports_[i] = 0;
  }
  server->sockets_ = std::make_unique<Sockets>(server->ports_, paths);
  for (auto& queue : server->queues_) {
    for (const Served& served : server->served_) Calls::Accept(*server, served, *queue);
    for (StandardService* standard : server->options_.standard_services) standard->Accept(*queue);
    queue->Start();
  }
  return server;
}

Server::~Server() { Stop(absl::ZeroDuration()); }

Gate::Admission Server::Admit(const grpc::ServerContext& context, const Served& served,
                              std::size_t bytes) {
  if (options_.gate == nullptr) return {};
  return options_.gate->Admit(context, served.method->descriptor, static_cast<int64_t>(bytes));
}

StreamSet::Check Server::MayGoOn(const grpc::ServerContext& context,
                                 access::PrincipalPtr principal) const {
  if (options_.gate == nullptr) return [] { return absl::OkStatus(); };
  return [gate = options_.gate, credentials = CredentialsOf(context),
          principal = std::move(principal)] { return gate->Check(credentials, *principal); };
}

void Server::Stop(absl::Duration grace) {
  if (std::exchange(stopped_, true)) return;
  const absl::Duration goodbye = std::min(kGoodbyeShare * grace, kGoodbyeMax);
  const SteadyTime end = SteadyTime::Now() + (grace - goodbye);
  RefuseNewCalls();
  for (StandardService* standard : options_.standard_services) standard->EndStreams();
  streams_.Drain(std::min(grace - goodbye, kStreamGrace));
  {
    std::unique_lock<std::mutex> lock(mutex_);
    WaitAtMost(end - SteadyTime::Now(), last_ended_, lock, [this] { return running_ == 0; });
  }
  // Connections that are accepted before listening stops are among those that are closed.
  if (!sockets_->Find()) {
    Log(LogLevel::kWarn, "rpc",
        "there is no /proc/self/fd: peers are not hung up on before gRPC leaves them");
  }
  sockets_->StopListening();
  sockets_->Find();
  sockets_->EndWriting();
  sockets_->AwaitPeers(goodbye);
  sockets_->Cut();
  server_->Shutdown(MonotonicDeadline(absl::ZeroDuration()));  // Cancels what is left.
  for (auto& queue : queues_) queue->Stop();
}

}  // namespace sessiond::rpc
