#include "server/rpc/server.h"

#include <grpc/support/time.h>

#include <algorithm>
#include <climits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/rpc/grpc_body.h"
#include "server/rpc/grpc_stream.h"
#include "server/rpc/status.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

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

// In gpr's own arithmetic, which saturates: the longest timeout on the wire is beyond std::chrono.
SteadyTime DeadlineOf(const grpc::ServerContext& context) {
  const gpr_timespec given = context.raw_deadline();
  const SteadyTime now = SteadyTime::Now();
  if (gpr_time_cmp(given, gpr_inf_future(given.clock_type)) == 0) return DeadlineWithout(now);
  const SteadyTime latest = LatestDeadline(now);
  const gpr_timespec left = gpr_time_sub(given, gpr_now(given.clock_type));
  const gpr_timespec longest =
      gpr_time_from_seconds(absl::ToInt64Seconds(latest - now), GPR_TIMESPAN);
  if (gpr_time_cmp(left, longest) >= 0) return latest;
  return now + absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

void AddPushback(const absl::Status& status, grpc::ServerContext& context) {
  if (const std::string pushback = PushbackOf(status); !pushback.empty())
    context.AddTrailingMetadata("grpc-retry-pushback-ms", pushback);
}

// Larger requests are parsed one after the other, and not on a queue's thread; larger replies are
// written through.
constexpr std::size_t kLargeMessage = 64 << 10;

// A large reply counts as written once the kernel has it: passed by flow control alone, it would
// still be ours.
grpc::WriteOptions HowToWrite(const grpc::ByteBuffer& reply) {
  grpc::WriteOptions options;
  if (reply.Length() > kLargeMessage) options.set_write_through();
  return options;
}

// Clients ping more often than they send requests, every second when they want to notice soon that
// a peer is gone. gRPC's default minimum of five minutes answers that with GOAWAY (too_many_pings),
// which ends their watches. This is half of that second, because pings bunch up on their way. A
// ping costs 34 bytes and some microseconds; clients that ping faster are still disconnected after
// the third.
constexpr int kPingIntervalMinMs = 500;

// A maximum, as gRPC's channel arguments have it.
int MillisecondsMax(absl::Duration maximum) {
  return maximum <= absl::ZeroDuration() ? INT_MAX
                                         : static_cast<int>(absl::ToInt64Milliseconds(maximum));
}

void Configure(const ServerOptions& options, grpc::ServerBuilder& builder) {
  // Above our own limit, so that the refusal is ours and says why; gRPC's own is the backstop.
  builder.SetMaxReceiveMessageSize(2 * kMessageBytesMax);
  // A megabyte can inflate to a gigabyte before its size is checked.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kPingIntervalMinMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1'000);
  // What a stream may have buffered of messages that count as written (64 KiB by default): of
  // thousands of watches that nobody reads it is all that is held.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, 8 << 10);
  // Until the peer's SETTINGS have come: of those who say nothing, nobody stays longer.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // gRPC takes a tenth more or less of the age. What a connection still carries may end by itself.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                             MillisecondsMax(options.connection_age_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, INT_MAX);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             MillisecondsMax(options.connection_idle_max));
  // Channelz counts what each connection and call does, and is not served here.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
}

// An entrance whose connections gRPC serves.
absl::StatusOr<front_door::Entrance> MakeEntrance(const Listener& listener,
                                                  grpc::ServerBuilder& builder) {
  auto sockets = front_door::Listen(listener.address);
  if (!sockets.ok())
    return absl::UnavailableError(absl::StrCat("cannot listen on ", ToString(listener.address),
                                               ": ", sockets.status().message()));
  using Experimental = grpc::ServerBuilder::experimental_type;
  const std::shared_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor =
      builder.experimental().AddExternalConnectionAcceptor(
          Experimental::ExternalConnectionType::FROM_FD, listener.credentials);
  return front_door::Entrance{
      .sockets = *std::move(sockets), .admit = [acceptor](int listening, int connection) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
        parameters.listener_fd = listening;
        parameters.fd = connection;
        acceptor->HandleNewConnection(&parameters);
      }};
}

}  // namespace

struct Server::Calls {
  // One call of `served`, from when it is accepted until it ends. Once accepted it arms the next
  // one.
  static Detached Serve(Server& server, const Served& served, CallQueue& queue) {
    const CallQueue::Use use(queue);
    grpc::ServerContext context;
    ByteStream wire(&context);
    CallOver over(context);
    Completion accepted([&](void* tag) {
      served.service->Accept(served.index, &context, &wire, queue.get(), tag);
    });
    if (!co_await accepted) co_return;  // Shutting down; nothing else completes.
    Dispatcher::Call call(*server.options_.dispatcher, *served.row);
    Serve(server, served, queue);

    const GrpcCaller caller(context);
    const db::Deadline deadline(DeadlineOf(context), over.flag());
    GrpcBody body(wire, queue.waits(), server.streams_.draining);
    absl::Status refused = call.Admit(caller, deadline, /*bytes=*/0);
    if (refused.ok()) refused = co_await body;
    if (refused.ok() && body.missing()) {
      Awaitable<void> ended = EndWithoutMessage(call, context, wire, over, deadline);
      co_await ended;
      co_return;
    }
    const std::size_t bytes = body.bytes().Length();
    ByteBudget::Share held;
    if (refused.ok()) refused = call.Received(static_cast<int64_t>(bytes));
    if (refused.ok() && bytes > kLargeMessage) {
      held = server.requests_.Take(bytes);
      if (held) {
        auto entered = server.parser_.Enter();
        co_await entered;
        refused = deadline.Check(SteadyTime::Now());
      } else {
        refused = Overloaded("bytes of requests");
      }
    }
    Bytes reply = grpc::ByteBuffer();
    if (refused.ok()) {
      Awaitable<Bytes> handling = call.Handle(body.bytes());
      reply = co_await handling;
    } else {
      reply = std::move(refused);
    }
    body.bytes().Clear();
    held = {};
    if (reply.ok()) {
      held = server.replies_.Take(reply->Length());
      if (!held) reply = Overloaded("bytes of replies");
    }
    const grpc::Status status = ToGrpcStatus(call.End(reply.status()));
    AddPushback(reply.status(), context);
    ReplyWait wait(ReplyWait::Of::kCall, context, queue.waits().patience(), &server.replies_);
    queue.waits().Begin(wait);
    Completion finished([&](void* tag) {
      if (reply.ok()) {
        wire.WriteAndFinish(*reply, HowToWrite(*reply), status, tag);
      } else {
        wire.Finish(status, tag);
      }
    });
    co_await finished;
    queue.waits().End(wait);
    co_await over;
    co_await body.Settled();
  }

  // The end of a call whose client's side has ended before there was a message: because it sends
  // none, or because the call is over, which gRPC says only at its end.
  static Awaitable<void> EndWithoutMessage(Dispatcher::Call& call, grpc::ServerContext& context,
                                           ByteStream& wire, CallOver& over,
                                           db::Deadline deadline) {
    Completion finished([&](void* tag) { wire.Finish(ToGrpcStatus(MissingMessage()), tag); });
    co_await finished;
    co_await over;
    absl::Status why = MissingMessage();
    if (context.IsCancelled()) {
      why = deadline.time <= SteadyTime::Now()
                ? absl::DeadlineExceededError("The deadline passed before the request had come.")
                : absl::CancelledError("The caller left before its request had come.");
    }
    call.End(why);
  }

  // The same for a streaming call, which lasts until its client or the daemon ends it. gRPC itself
  // ends it at its deadline.
  static Detached ServeStream(Server& server, const Served& served, CallQueue& queue) {
    const CallQueue::Use use(queue);
    grpc::ServerContext context;
    GrpcStream stream(context, queue, server.streams_,
                      !served.row->method->descriptor->client_streaming());
    Completion accepted([&](void* tag) {
      served.service->Accept(served.index, &context, &stream.wire(), queue.get(), tag);
    });
    if (!co_await accepted) co_return;  // Shutting down; nothing else completes.
    Dispatcher::Call call(*server.options_.dispatcher, *served.row);
    ServeStream(server, served, queue);

    auto entered = server.streams_.worker.Enter();
    co_await entered;
    const GrpcCaller caller(context);
    Awaitable<absl::Status> serving = call.Stream(caller, stream);
    absl::Status status = co_await serving;
    status = stream.EndOf(status);
    AddPushback(status, context);
    const grpc::Status ended = ToGrpcStatus(call.End(status));
    Awaitable<void> finished = stream.Finish(ended);
    co_await finished;
  }

  // Accepts calls of `served` on this queue from now on, one at a time: the next accept is armed as
  // soon as there is a call. gRPC as Debian builds it, with its assertions, looks through all that
  // is armed whenever an operation ends (docs/benchmark.md).
  static void Accept(Server& server, const Served& served, CallQueue& queue) {
    served.row->streams() ? ServeStream(server, served, queue) : Serve(server, served, queue);
  }
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options, Metrics& metrics) {
  auto server = std::unique_ptr<Server>(new Server(std::move(options)));
  server->streams_.draining = [dispatcher = server->options_.dispatcher] {
    return dispatcher->draining();
  };
  grpc::ServerBuilder builder;
  Configure(server->options_, builder);
  std::vector<front_door::Entrance> entrances;
  for (const Listener& listener : server->options_.listeners) {
    auto entrance = MakeEntrance(listener, builder);
    if (!entrance.ok()) {
      server->stopped_ = true;
      return entrance.status();
    }
    server->bound_.push_back(entrance->sockets.front().address());
    entrances.push_back(*std::move(entrance));
  }
  std::map<const google::protobuf::ServiceDescriptor*, RawService*> services;
  for (const Dispatcher::Row& row : server->options_.dispatcher->rows()) {
    const google::protobuf::MethodDescriptor* method = row.method->descriptor;
    const google::protobuf::ServiceDescriptor* descriptor = method->service();
    RawService*& service = services[descriptor];
    if (service == nullptr) {
      service = server->raw_services_.emplace_back(std::make_unique<RawService>(descriptor)).get();
      builder.RegisterService(service);
    }
    server->served_.push_back({.row = &row, .service = service, .index = method->index()});
  }
  for (StandardService* standard : server->options_.standard_services) {
    for (grpc::Service* service : standard->services()) builder.RegisterService(service);
  }
  for (int i = 0; i < server->options_.queues; ++i)
    server->queues_.push_back(
        std::make_unique<CallQueue>(builder.AddCompletionQueue(), server->options_.patience));
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    for (auto& queue : server->queues_) queue->Stop();
    server->stopped_ = true;
    return absl::UnavailableError("gRPC does not start");
  }
  for (auto& queue : server->queues_) {
    for (const Served& served : server->served_) Calls::Accept(*server, served, *queue);
    for (StandardService* standard : server->options_.standard_services)
      standard->Accept(*queue, server->streams_);
    queue->Start();
  }
  server->door_ = std::make_unique<front_door::FrontDoor>(std::move(entrances),
                                                          server->options_.connections, metrics);
  server->guard_.emplace(server->door_->connections(), metrics);
  return server;
}

Server::~Server() { Stop(absl::ZeroDuration()); }

void Server::Stop(absl::Duration grace) {
  if (std::exchange(stopped_, true)) return;
  const absl::Duration goodbye = std::min(kGoodbyeShare * grace, kGoodbyeMax);
  const SteadyTime end = SteadyTime::Now() + (grace - goodbye);
  Dispatcher& dispatcher = *options_.dispatcher;
  dispatcher.RefuseNewCalls();
  for (StandardService* standard : options_.standard_services) standard->EndStreams();
  dispatcher.DrainStreams(std::min(grace - goodbye, kStreamGrace));
  dispatcher.AwaitCalls(end);
  door_->Close();
  door_->connections().EndWriting();
  door_->connections().AwaitPeers(goodbye);
  door_->connections().Cut();
  server_->Shutdown(gpr_now(GPR_CLOCK_MONOTONIC));  // Cancels what is left.
  for (auto& queue : queues_) queue->Stop();
}

}  // namespace sessiond::rpc
