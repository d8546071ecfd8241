#include "server/http/connect_call.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/http/asio.h"
#include "server/http/connect_protocol.h"
#include "server/http/json_codec.h"
#include "server/rpc/parse.h"
#include "server/rpc/status.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"

namespace sessiond::http {
namespace {

using beast::http::field;
using beast::http::verb;
using rpc::ByteBudget;
using rpc::Dispatcher;

// JSON needs more bytes for the same message.
constexpr std::size_t kJsonBytesMax = 2 * kMessageBytesMax;
// Messages up to this are held without being counted: such a reply may tell of a change that has
// taken effect, and is always sent. A body that does not say its length is taken for one.
constexpr std::size_t kSmallMessage = 64 << 10;

// ------------------------------------------------------------------ our coroutines ↔ Asio's
//
// Operands of co_await are made before it: g++ 12 destroys temporaries in such an expression too
// early, or twice (https://gcc.gnu.org/bugzilla/show_bug.cgi?id=99576).

template <class T, class Handler>
Detached RunThen(Awaitable<T> task, std::optional<T>* value, asio::io_context& context,
                 Handler handler) {
  value->emplace(co_await task);
  asio::post(context, std::move(handler));
}

// Awaits, on the server's thread, what ends on any thread.
template <class T>
asio::awaitable<T> Await(asio::io_context& context, Awaitable<T> task) {
  std::optional<T> value;
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
      [&](auto handler) { RunThen(std::move(task), &value, context, std::move(handler)); },
      asio::use_awaitable);
  co_return *std::move(value);
}

// Awaits what is made by the converter. REQUIRES: somebody waits for the call's end before the
// context and the converter are gone.
template <class T, class Make>
asio::awaitable<T> OnConverter(asio::io_context& context, asio::thread_pool& converter, Make make) {
  std::optional<T> value;
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
      [&](auto handler) {
        asio::post(converter, [&, handler = std::move(handler)]() mutable {
          value.emplace(make());
          asio::post(context, std::move(handler));
        });
      },
      asio::use_awaitable);
  co_return *std::move(value);
}

// The other way round: co_await OnServer(context, task) → whether it succeeded, on the server's
// thread.
class OnServer {
 public:
  OnServer(asio::io_context& context, asio::awaitable<bool> task)
      : context_(context), task_(std::move(task)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    asio::co_spawn(context_, std::move(task_), [this, waiter](std::exception_ptr failed, bool ok) {
      ok_ = ok && failed == nullptr;
      waiter.resume();
    });
  }
  bool await_resume() const noexcept { return ok_; }

 private:
  asio::io_context& context_;
  asio::awaitable<bool> task_;
  bool ok_ = false;
};

// --------------------------------------------------------------------------------- callers

class HttpCaller final : public rpc::Caller {
 public:
  explicit HttpCaller(const Exchange& exchange) : exchange_(exchange) {}
  access::Credentials credentials() const override { return exchange_.credentials(); }
  std::string peer() const override { return exchange_.peer(); }

 private:
  const Exchange& exchange_;
};

std::chrono::steady_clock::time_point TimePoint(SteadyTime time) {
  return std::chrono::steady_clock::time_point(absl::ToChronoNanoseconds(time.SinceStart()));
}

SteadyTime DeadlineOf(const absl::StatusOr<CallHead>& head, SteadyTime now) {
  if (!head.ok() || !head->timeout.has_value()) return rpc::DeadlineWithout(now);
  return std::min(now + *head->timeout, rpc::LatestDeadline(now));
}

std::size_t BytesMax(Codec codec) {
  return codec == Codec::kJson ? kJsonBytesMax : kMessageBytesMax;
}

// The messages of a method, in a codec ↔ Protobuf's bytes. They outlive the tasks.
class Converter {
 public:
  Converter(asio::io_context& context, asio::thread_pool& converter)
      : context_(context), converter_(converter) {}

  asio::awaitable<absl::StatusOr<std::string>> Encoded(
      const std::string& message, Codec codec, const google::protobuf::Descriptor& type) const {
    if (codec == Codec::kProto) co_return message;
    if (message.size() <= kConvertedAtOnce) co_return FromJson(message, type);
    const auto convert = [&] { return FromJson(message, type); };
    co_return co_await OnConverter<absl::StatusOr<std::string>>(context_, converter_, convert);
  }
  asio::awaitable<absl::StatusOr<std::string>> Decoded(
      const grpc::ByteBuffer& bytes, Codec codec, const google::protobuf::Descriptor& type) const {
    const std::string message = BytesOf(bytes);
    if (codec == Codec::kProto) co_return message;
    if (message.size() <= kConvertedAtOnce) co_return ToJson(message, type);
    const auto convert = [&] { return ToJson(message, type); };
    co_return co_await OnConverter<absl::StatusOr<std::string>>(context_, converter_, convert);
  }

 private:
  // What takes less time than it takes to wake another thread, about.
  static constexpr std::size_t kConvertedAtOnce = 4 << 10;

  asio::io_context& context_;
  asio::thread_pool& converter_;
};

// ----------------------------------------------------------------------------- unary calls

Response ErrorResponse(const google::rpc::Status& error, const absl::Status& status) {
  Response response = MakeResponse(HttpStatusOf(error), ErrorJson(error), "application/json");
  if (const auto delay = RetryDelayOf(status); delay.has_value()) {
    const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(*delay, absl::Seconds(1)));
    response.set(field::retry_after, absl::StrCat(seconds));
    if (const std::string pushback = rpc::PushbackOf(status); !pushback.empty())
      response.set("Trailer-Grpc-Retry-Pushback-Ms", pushback);
  }
  if (absl::IsUnauthenticated(status)) response.set(field::www_authenticate, "Bearer");
  return response;
}

// The body of a unary call. What is held of it counts as it arrives: who announces much and sends
// little takes nothing from others.
class RequestBody {
 public:
  RequestBody(Exchange& exchange, ByteBudget& budget, std::size_t bytes_max)
      : exchange_(exchange), budget_(budget), bytes_max_(bytes_max) {}

  // Reads all of it.
  asio::awaitable<absl::Status> Read() {
    for (;;) {
      const absl::StatusOr<std::string> more = co_await exchange_.ReadSome();
      if (!more.ok()) co_return more.status();
      if (more->empty()) co_return absl::OkStatus();
      text_ += *more;
      if (text_.size() > bytes_max_) co_return rpc::TooLarge(text_.size(), "request", bytes_max_);
      if (text_.size() > kUncounted && !budget_.Grow(held_, text_.size()))
        co_return Overloaded("bytes of requests");
    }
  }

  std::string Take() { return std::move(text_); }
  // For what was made of it, and lasts longer.
  ByteBudget::Share TakeShare() { return std::move(held_); }

 private:
  // Small calls are served whatever large ones hold; connections are limited.
  static constexpr std::size_t kUncounted = 16 << 10;

  Exchange& exchange_;
  ByteBudget& budget_;
  const std::size_t bytes_max_;
  std::string text_;
  ByteBudget::Share held_;
};

class UnaryCall {
 public:
  UnaryCall(Exchange& exchange, CallHost& host, const Dispatcher::Row& row)
      : exchange_(exchange),
        row_(row),
        budget_(host.budget),
        converter_(exchange.context(), host.converter),
        call_(host.dispatcher, row),
        handled_(exchange.context()) {}

  // REQUIRES: Serve has ended, if it has begun.
  ~UnaryCall() {
    if (handler_runs_) std::terminate();  // It uses what is here.
  }

  // `in_query`: what a GET has instead of a body.
  asio::awaitable<void> Serve(Codec codec, std::optional<absl::StatusOr<std::string>> in_query) {
    std::exception_ptr failed;
    try {
      co_await Answer(codec, std::move(in_query));
    } catch (...) {  // Memory: the peer gets no answer (http_server.cc).
      failed = std::current_exception();
      exchange_.OnDeparture(nullptr);
      left_ = true;
    }
    while (handler_runs_) co_await Handled(TimePoint(SteadyTime::InfiniteFuture()));
    if (failed != nullptr) std::rethrow_exception(failed);
  }

 private:
  // What the daemon has to say at the deadline may come so much later.
  static constexpr absl::Duration kLastWord = absl::Milliseconds(50);

  asio::awaitable<void> Answer(Codec codec, std::optional<absl::StatusOr<std::string>> in_query) {
    exchange_.OnDeparture([this] { left_ = true; });
    absl::StatusOr<std::string> reply = co_await Handle(codec, std::move(in_query));
    exchange_.OnDeparture(nullptr);
    ByteBudget::Share held;
    if (reply.ok() && reply->size() > kSmallMessage) {
      held = budget_.Take(reply->size());
      if (!held) reply = Overloaded("bytes of replies");
    }
    const google::rpc::Status error = call_.End(reply.status());
    Response response = reply.ok() ? MakeResponse(200, *std::move(reply), BodyKind{codec}.name())
                                   : ErrorResponse(error, reply.status());
    // Nobody else's call is to wait on this connection until the handler has ended.
    if (handler_runs_) response.keep_alive(false);
    co_await exchange_.Respond(std::move(response));
  }

  asio::awaitable<absl::StatusOr<std::string>> Handle(
      Codec codec, std::optional<absl::StatusOr<std::string>> in_query) {
    const auto head = ParseCallHead(exchange_.head(), /*stream=*/false);
    const SteadyTime deadline = DeadlineOf(head, came_);
    exchange_.ReadBy(TimePoint(deadline));
    const std::size_t bytes_max = BytesMax(codec);
    RequestBody body(exchange_, budget_, bytes_max);

    // A body in chunks is usually small, and does not count as the largest possible. Nobody has a
    // byte of their body read before they are let in.
    const uint64_t announced = in_query.has_value()
                                   ? exchange_.target().second.size()
                                   : exchange_.body_bytes().value_or(kSmallMessage);
    const absl::Status admitted =
        call_.Admit(HttpCaller(exchange_), db::Deadline(deadline, &left_),
                    static_cast<int64_t>(std::min<uint64_t>(announced, bytes_max)));
    if (!admitted.ok()) co_return admitted;
    if (!head.ok()) co_return head.status();
    if (announced > bytes_max) co_return rpc::TooLarge(announced, "request", bytes_max);

    std::string sent;
    if (in_query.has_value()) {
      if (!in_query->ok()) co_return in_query->status();
      sent = **std::move(in_query);
    } else {
      const absl::Status read = co_await body.Read();
      if (!read.ok()) co_return read;
      sent = body.Take();
    }
    const absl::StatusOr<std::string> request =
        co_await converter_.Encoded(sent, codec, *row_.method->descriptor->input_type());
    if (!request.ok()) co_return request.status();
    request_ = BufferOf(*request);
    handler_runs_ = true;
    RunThen(call_.Handle(request_), &reply_, exchange_.context(), [this] {
      handler_runs_ = false;
      handled_.cancel();
    });
    co_await Handled(TimePoint(deadline + kLastWord));
    if (handler_runs_) {
      left_ = true;
      request_held_ = body.TakeShare();
      co_return absl::DeadlineExceededError(
          row_.changes ? "The deadline passed before the change was known to be done. To find out, "
                         "ask again, with the same request_id."
                       : "The deadline passed before the answer was there.");
    }
    const rpc::Bytes reply = *std::exchange(reply_, std::nullopt);
    if (!reply.ok()) co_return reply.status();
    co_return co_await converter_.Decoded(*reply, codec, *row_.method->descriptor->output_type());
  }

  // Until the handler has ended, but no longer than until `end`.
  asio::awaitable<void> Handled(std::chrono::steady_clock::time_point end) {
    if (!handler_runs_) co_return;
    beast::error_code cancelled;
    handled_.expires_at(end);
    co_await handled_.async_wait(Into(cancelled));
  }

  Exchange& exchange_;
  const Dispatcher::Row& row_;
  ByteBudget& budget_;
  const Converter converter_;
  // Before the call begins, so that a deadline of nothing has passed by then.
  const SteadyTime came_ = SteadyTime::Now();
  Dispatcher::Call call_;
  std::atomic<bool> left_ = false;
  // The handler's, which may end after its caller was answered.
  grpc::ByteBuffer request_;
  ByteBudget::Share request_held_;
  std::optional<rpc::Bytes> reply_;
  bool handler_runs_ = false;
  // Cancelled when the handler has ended.
  asio::steady_timer handled_;
};

// --------------------------------------------------------------------------------- streams

// A stream of envelopes. What handlers ask of it on their threads is done on the server's.
class ConnectStream final : public rpc::RawStream {
 public:
  ConnectStream(Exchange& exchange, CallHost& host, const Dispatcher::Row& row, Codec codec)
      : exchange_(exchange),
        budget_(host.budget),
        converter_(exchange.context(), host.converter),
        codec_(codec),
        request_(*row.method->descriptor->input_type()),
        reply_(*row.method->descriptor->output_type()),
        cut_(exchange.Cutter()) {}

  Awaitable<std::optional<grpc::ByteBuffer>> Read() override {
    if (over() || draining() || reading_) co_return std::nullopt;
    reading_ = true;
    asio::co_spawn(exchange_.context(), ReadMessage(), [this](std::exception_ptr failed) {
      const std::shared_ptr<rpc::StreamNews> stream_news = news();
      if (failed != nullptr) incoming_.reset();
      reading_ = false;
      stream_news->signal.Set();
    });
    // A drain does not wait for a client that sends nothing.
    while (reading_ && !draining() && !over()) co_await news()->signal.Wait();
    if (reading_ || !incoming_.has_value()) co_return std::nullopt;
    heard_ = true;
    co_return std::move(incoming_);
  }

  Awaitable<bool> Write(const grpc::ByteBuffer& message, rpc::Flush flush) override {
    if (over()) co_return false;
    OnServer writing(exchange_.context(), WriteMessage(message, flush));
    co_return co_await writing;
  }

  ByteBudget::Share Hold(std::size_t bytes) override { return budget_.Take(bytes); }

  void Cancel() override {
    const std::shared_ptr<rpc::StreamNews> stream_news = news();
    stream_news->over = true;
    cut_();
    stream_news->signal.Set();
  }

  // The following are for the server's thread.

  // The call is over: `timed_out`, or the client has left.
  void EndEarly(bool timed_out) {
    timed_out_ = timed_out;
    const std::shared_ptr<rpc::StreamNews> stream_news = news();
    stream_news->over = true;
    stream_news->signal.Set();
  }

  // What the stream ends with, if its handler ended with `status`.
  absl::Status EndOf(const absl::Status& status) const {
    if (!refusal_.ok()) return refusal_;
    if (timed_out_) return absl::DeadlineExceededError("The deadline has passed.");
    return status;
  }

  asio::awaitable<void> Finish(const google::rpc::Status& error,
                               const std::map<std::string, std::string>& metadata) {
    while (reading_) {
      // Each time: between two parts there is nothing to stop.
      exchange_.StopReading();
      co_await asio::post(exchange_.context(), asio::use_awaitable);
    }
    if (!co_await Begin()) co_return;
    std::string rest = std::move(pending_) + EndOfStream(error, metadata);
    const bool written = co_await exchange_.Write(std::move(rest));
    if (written) co_await exchange_.End();
  }

 private:
  asio::awaitable<bool> Begin() {
    if (std::exchange(begun_, true)) co_return true;
    Response head;
    head.version(11);
    head.result(200);
    const absl::string_view type = BodyKind{codec_, /*stream=*/true}.name();
    head.set(field::content_type, {type.data(), type.size()});
    head.set(field::cache_control, "no-store");
    // For nginx, which would otherwise wait for more.
    head.set("X-Accel-Buffering", "no");
    co_return co_await exchange_.Begin(std::move(head));
  }

  // Into `incoming_`; nothing: there are no more, or the message is refused.
  asio::awaitable<void> ReadMessage() {
    incoming_.reset();
    exchange_.ReadBy(std::nullopt);
    if (unread_.empty()) {
      absl::StatusOr<std::string> first = co_await exchange_.ReadSome();
      if (first.ok() && first->empty()) co_return;  // There are no more.
      if (!first.ok()) {
        refusal_ = first.status();
        co_return;
      }
      unread_ = *std::move(first);
    }
    const absl::StatusOr<std::string> head = co_await ReadExactly(kEnvelopeBytes);
    if (!head.ok()) {
      refusal_ = head.status();
      co_return;
    }
    char bytes[kEnvelopeBytes];
    head->copy(bytes, kEnvelopeBytes);
    const EnvelopeHead envelope = ParseEnvelopeHead(bytes);
    if (envelope.length > BytesMax(codec_)) {
      refusal_ = rpc::TooLarge(envelope.length, "request", BytesMax(codec_));
    } else if (envelope.flags != 0) {
      refusal_ = Refusal(v1::INVALID_FIELD,
                         absl::StrCat("The flags of a message are ", envelope.flags,
                                      ", and have to be 0: messages are not compressed here."));
    }
    if (!refusal_.ok()) co_return;
    exchange_.ReadBy(std::chrono::steady_clock::now() + kMessageTime);
    const absl::StatusOr<std::string> message = co_await ReadExactly(envelope.length);
    if (!message.ok()) {
      refusal_ = message.status();
      co_return;
    }
    const absl::StatusOr<std::string> encoded =
        co_await converter_.Encoded(*message, codec_, request_);
    if (encoded.ok()) {
      incoming_ = BufferOf(*encoded);
    } else {
      refusal_ = encoded.status();
    }
  }

  asio::awaitable<absl::StatusOr<std::string>> ReadExactly(std::size_t bytes) {
    ByteBudget::Share held;
    while (unread_.size() < bytes) {
      const absl::StatusOr<std::string> more = co_await exchange_.ReadSome();
      if (!more.ok()) co_return more.status();
      if (more->empty())
        co_return Refusal(v1::INVALID_FIELD, "The last message ends in the middle.");
      unread_ += *more;
      if (unread_.size() > kSmallMessage && !budget_.Grow(held, unread_.size()))
        co_return Overloaded("bytes of requests");
    }
    std::string taken = unread_.substr(0, bytes);
    unread_.erase(0, bytes);
    co_return taken;
  }

  asio::awaitable<bool> WriteMessage(const grpc::ByteBuffer& message, rpc::Flush flush) {
    const absl::StatusOr<std::string> text = co_await converter_.Decoded(message, codec_, reply_);
    if (!text.ok()) {
      refusal_ = text.status();
      co_return false;
    }
    pending_ += Envelope(0, *text);
    if (flush == rpc::Flush::kWithNext && pending_.size() < kSmallMessage) co_return true;
    ByteBudget::Share held;
    if (pending_.size() > kSmallMessage && !budget_.Grow(held, pending_.size())) {
      pending_.clear();
      refusal_ = Overloaded("bytes of replies");
      co_return false;
    }
    bool written = co_await Begin();
    if (written) {
      std::string messages = std::exchange(pending_, std::string());
      written = co_await exchange_.Write(std::move(messages));
    }
    if (!written) EndEarly(/*timed_out=*/false);
    co_return written;
  }

  // For one message, from its head to its end.
  static constexpr std::chrono::seconds kMessageTime{60};

  Exchange& exchange_;
  ByteBudget& budget_;
  const Converter converter_;
  const Codec codec_;
  const google::protobuf::Descriptor& request_;
  const google::protobuf::Descriptor& reply_;
  const std::function<void()> cut_;

  std::atomic<bool> reading_ = false;
  // Written by the server's thread while `reading_`, and then read by the handler.
  std::optional<grpc::ByteBuffer> incoming_;
  // The server's thread's.
  std::string unread_;
  std::string pending_;
  bool begun_ = false;
  bool timed_out_ = false;
  absl::Status refusal_;
};

asio::awaitable<void> ServeStream(Exchange& exchange, CallHost& host, const Dispatcher::Row& row,
                                  Codec codec) {
  // Outlives the call, which is among those that others may cut until it is destroyed.
  ConnectStream stream(exchange, host, row, codec);
  Dispatcher::Call call(host.dispatcher, row);
  const auto head = ParseCallHead(exchange.head(), /*stream=*/true);
  absl::Status status = head.status();
  if (status.ok()) {
    exchange.OnDeparture([&stream] { stream.EndEarly(/*timed_out=*/false); });
    asio::steady_timer timer(exchange.context());
    if (head->timeout.has_value()) {
      timer.expires_after(absl::ToChronoMilliseconds(*head->timeout));
      timer.async_wait([&stream](const beast::error_code& cancelled) {
        if (!cancelled) stream.EndEarly(/*timed_out=*/true);
      });
    }
    const HttpCaller caller(exchange);
    Awaitable<absl::Status> serving = call.Stream(caller, stream);
    status = co_await Await(exchange.context(), std::move(serving));
    exchange.OnDeparture(nullptr);
    timer.cancel();
    // A timer that has fired may still have its turn to come, and refers to the stream.
    co_await asio::post(exchange.context(), asio::use_awaitable);
  }
  status = stream.EndOf(status);
  std::map<std::string, std::string> metadata;
  if (std::string pushback = rpc::PushbackOf(status); !pushback.empty())
    metadata["grpc-retry-pushback-ms"] = std::move(pushback);
  const google::rpc::Status end = call.End(status);
  co_await stream.Finish(end, metadata);
}

// ------------------------------------------------------------------------------- which one

Response NotServed(absl::string_view path) {
  google::rpc::Status error;
  error.set_code(static_cast<int>(absl::StatusCode::kUnimplemented));
  error.set_message(absl::StrCat("There is no method ", absl::CHexEscape(path.substr(1, 120)),
                                 ": /openapi.json has them all."));
  return MakeResponse(404, ErrorJson(error), "application/json");
}

Response WrongVerb(bool get_allowed) {
  Response refused = TextResponse(405, "Calls are POST; GET is for those that change nothing.\n");
  refused.set(field::allow, get_allowed ? "POST, GET" : "POST");
  return refused;
}

Response WrongType() {
  Response refused = TextResponse(
      415, absl::StrCat("The Content-Type of a call is application/json or application/proto, and "
                        "of a stream application/connect+json or application/connect+proto. gRPC "
                        "itself is served at the port of --grpc-listen.\n"));
  refused.set("Accept-Post", {kContentTypes.data(), kContentTypes.size()});
  return refused;
}

// The type that curl gives to whatever its -d has, and HTML to forms. What a page may send without
// being asked for (CORS) is not taken from pages.
constexpr absl::string_view kForm = "application/x-www-form-urlencoded";

std::optional<BodyKind> KindOf(const Exchange& exchange, bool streams) {
  const absl::string_view type = exchange.Find("Content-Type").value_or(kForm);
  if (type == kForm && !streams && !exchange.Find("Origin").has_value()) return BodyKind();
  return ParseContentType(type);
}

}  // namespace

bool IsCallPath(absl::string_view path) {
  const std::size_t slash = path.find('/', 1);
  return absl::StartsWith(path, "/") && slash != absl::string_view::npos &&
         absl::StrContains(path.substr(0, slash), '.') &&
         !absl::StrContains(path.substr(slash + 1), '/');
}

asio::awaitable<void> ServeCall(Exchange& exchange, CallHost& host) {
  const auto [path, query] = exchange.target();
  const Dispatcher::Row* row = host.dispatcher.Find(path);
  if (row == nullptr) {
    Response refused = NotServed(path);
    co_await exchange.Respond(std::move(refused));
    co_return;
  }
  const bool get_allowed = !row->changes && !row->streams();
  if (exchange.head().method() == verb::get && get_allowed) {
    absl::StatusOr<QueryMessage> asked = ParseQuery(query);
    if (asked.ok() && !asked->codec.has_value()) {
      Response refused = WrongType();
      co_await exchange.Respond(std::move(refused));
      co_return;
    }
    UnaryCall call(exchange, host, *row);
    const Codec codec = asked.ok() ? *asked->codec : Codec::kJson;
    std::optional<absl::StatusOr<std::string>> message;
    if (asked.ok()) {
      message.emplace(std::move(asked->message));
    } else {
      message.emplace(asked.status());
    }
    co_await call.Serve(codec, std::move(message));
    co_return;
  }
  if (exchange.head().method() != verb::post) {
    Response refused = WrongVerb(get_allowed);
    co_await exchange.Respond(std::move(refused));
    co_return;
  }
  const auto kind = KindOf(exchange, row->streams());
  if (!kind.has_value() || kind->stream != row->streams()) {
    Response refused = WrongType();
    co_await exchange.Respond(std::move(refused));
  } else if (row->streams()) {
    co_await ServeStream(exchange, host, *row, kind->codec);
  } else {
    UnaryCall call(exchange, host, *row);
    std::optional<absl::StatusOr<std::string>> none;
    co_await call.Serve(kind->codec, std::move(none));
  }
}

}  // namespace sessiond::http
