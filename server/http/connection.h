// One HTTP/1.1 connection, over TCP or TLS on it: requests one after the other, each with its
// answer, and a time limit for everything that waits for the peer.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/front_door/connections.h"
#include "server/http/asio.h"
#include "server/http/exchange.h"
#include "server/identity/certificate_identity.h"
#include "state_machine/refusal.h"

namespace sessiond::http {

using Tls = beast::ssl_stream<beast::tcp_stream>;

struct Times {
  // For the handshake, and for the head of the first request.
  std::chrono::milliseconds first = std::chrono::seconds(5);
  // Between requests.
  std::chrono::milliseconds idle = std::chrono::seconds(60);
  // For the next part of a body, and for a response, or a part of one, to be taken.
  std::chrono::milliseconds part = std::chrono::seconds(20);
  // When the server ends: for answers to be taken, and for requests on connections just made.
  std::chrono::milliseconds last = std::chrono::milliseconds(400);
};

// What the server knows of a connection. Only for its thread.
class Peer {
 public:
  virtual ~Peer() = default;
  // Waiting for a request, or for the rest of its head, or for the peer to close, too.
  bool idle() const { return idle_; }
  // What counts as one (front_door::AddressOf).
  const std::string& address() const { return address_; }
  // Tells the call that runs, if one does and its peer has gone.
  virtual void CheckDeparture() = 0;
  // Whether a call runs that can be told of a departure. One that ran may still have its answer to
  // be taken.
  virtual bool has_call() const = 0;
  // How many requests have come.
  int requests() const { return requests_; }
  // No request follows the one at hand or, if there was none yet, the first: closes the connection
  // behind its answer, and at once where there is nothing to answer.
  virtual void Finish() = 0;
  // Closes the connection.
  virtual void Cut() = 0;

 protected:
  bool idle_ = true;
  int requests_ = 0;
  std::string address_;
};

// Empty: it has left.
inline std::string AddressOf(const tcp::socket& socket) {
  beast::error_code gone;
  const tcp::endpoint remote = socket.remote_endpoint(gone);
  if (gone) return "";
  sockaddr_storage address = {};
  std::memcpy(&address, remote.data(), remote.size());
  return front_door::AddressOf(address);
}

template <class Stream>
class Connection final : public Peer,
                         public Exchange,
                         public std::enable_shared_from_this<Connection<Stream>> {
 public:
  using Handler = std::function<asio::awaitable<void>(Exchange&)>;

  // `arguments`: what the stream is made of.
  template <class... Arguments>
  Connection(asio::io_context& context, Times times, Arguments&&... arguments)
      : context_(context), times_(times), stream_(std::forward<Arguments>(arguments)...) {
    beast::error_code unknown;
    const tcp::endpoint remote = tcp_stream().socket().remote_endpoint(unknown);
    if (!unknown) peer_ = absl::StrCat(remote.address().to_string(), ":", remote.port());
    address_ = AddressOf(tcp_stream().socket());
  }

  // Until either side ends it. `handler` answers each request once.
  asio::awaitable<void> Serve(Handler handler) {
    tcp_stream().expires_after(times_.first);
    if (!co_await ShakeHands()) co_return;
    // Of a first request the time has begun.
    for (bool more = true; more;) {
      more = co_await ServeOne(handler);
      tcp_stream().expires_after(times_.idle);
    }
    co_await Close();
  }

  // -- Peer

  void CheckDeparture() override {
    tcp_info info = {};
    socklen_t size = sizeof(info);
    const int fd = tcp_stream().socket().native_handle();
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
        info.tcpi_state == TCP_ESTABLISHED)
      return;
    if (const auto left = std::exchange(left_, nullptr)) left();
  }
  bool has_call() const override { return left_ != nullptr; }
  void Finish() override {
    last_ = true;
    keep_ = false;
    beast::error_code error;
    const bool rests = idle_ && requests_ > 0 && !closing_ && buffer_.size() == 0;
    if (rests && tcp_stream().socket().available(error) == 0) Cut();
  }
  void Cut() override {
    if (const auto left = std::exchange(left_, nullptr)) left();
    tcp_stream().close();
  }

  // -- Exchange

  const Head& head() const override { return parser_->get().base(); }
  std::string peer() const override { return peer_; }
  asio::io_context& context() override { return context_; }

  access::Credentials credentials() const override {
    access::Credentials credentials;
    if (const X509* certificate = Certificate(); certificate != nullptr)
      credentials.certificate = identity::CertificateIdentity(*certificate);
    const auto [begin, end] = head().equal_range(beast::http::field::authorization);
    for (auto each = begin; each != end; ++each)
      credentials.authorization.emplace_back(View(each->value()));
    return credentials;
  }

  std::optional<uint64_t> body_bytes() const override {
    if (parser_->chunked()) return std::nullopt;
    const auto length = parser_->content_length();
    return length.has_value() ? *length : 0;
  }

  asio::awaitable<absl::StatusOr<std::string>> ReadSome() override {
    if (!co_await AgreeToBody()) co_return absl::CancelledError("The client has left.");
    // The parser returns what it has; the rest of a head, or of a chunk's, is no body.
    for (char part[kPartBytes]; !parser_->is_done();) {
      auto& body = parser_->get().body();
      body.data = part;
      body.size = sizeof(part);
      beast::error_code error;
      const auto next = std::chrono::steady_clock::now() + times_.part;
      tcp_stream().expires_at(std::min(next, read_by_.value_or(next)));
      co_await beast::http::async_read_some(stream_, buffer_, *parser_, Into(error));
      if (error == beast::http::error::need_buffer) error = {};
      const std::size_t read = sizeof(part) - parser_->get().body().size;
      if (error) co_return WhyNoBody(error);
      if (read > 0) co_return std::string(part, read);
    }
    co_return std::string();
  }
  void ReadBy(std::optional<std::chrono::steady_clock::time_point> end) override { read_by_ = end; }
  void StopReading() override { tcp_stream().cancel(); }

  asio::awaitable<bool> Respond(Response response) override {
    answered_ = true;
    const bool only_head = head().method() == beast::http::verb::head;
    // What is left of a body would be taken for the next request.
    keep_ = keep_ && response.keep_alive() && parser_->is_done();
    Complete(response);
    response.prepare_payload();
    beast::http::response_serializer<beast::http::string_body> serializer(response);
    beast::error_code error;
    tcp_stream().expires_after(times_.part);
    if (only_head) {
      co_await beast::http::async_write_header(stream_, serializer, Into(error));
    } else {
      co_await beast::http::async_write(stream_, serializer, Into(error));
    }
    keep_ = keep_ && !error;
    co_return !error;
  }

  asio::awaitable<bool> Begin(Response response) override {
    answered_ = true;
    keep_ = keep_ && parser_->is_done();
    Complete(response);
    response.chunked(true);
    beast::http::response_serializer<beast::http::string_body> serializer(response);
    beast::error_code error;
    tcp_stream().expires_after(times_.part);
    co_await beast::http::async_write_header(stream_, serializer, Into(error));
    keep_ = keep_ && !error;
    co_return !error;
  }
  asio::awaitable<bool> Write(std::string piece) override {
    auto chunk = beast::http::make_chunk(asio::buffer(piece));
    co_return co_await WriteAll(std::move(chunk));
  }
  asio::awaitable<bool> End() override {
    auto last = beast::http::make_chunk_last();
    co_return co_await WriteAll(std::move(last));
  }

  void OnDeparture(std::function<void()> left) override { left_ = std::move(left); }

  std::function<void()> Cutter() override {
    return [weak = this->weak_from_this(), &context = context_] {
      asio::post(context, [weak] {
        if (const auto alive = weak.lock()) alive->Cut();
      });
    };
  }

  // How responses are completed: for CORS.
  std::function<void(const Exchange&, Response&)> mark = [](const Exchange&, Response&) {};

 private:
  static constexpr std::size_t kPartBytes = 8192;
  static constexpr std::uint32_t kHeadBytesMax = 8192;
  // Read, and not yet parsed: the head of a chunk, or what is behind the last one, has no limit of
  // the parser's.
  static constexpr std::size_t kBufferBytesMax = 64 << 10;

  beast::tcp_stream& tcp_stream() { return beast::get_lowest_layer(stream_); }

  asio::awaitable<bool> ShakeHands() {
    if constexpr (std::is_same_v<Stream, Tls>) {
      beast::error_code error;
      co_await stream_.async_handshake(asio::ssl::stream_base::server, Into(error));
      co_return !error;
    }
    co_return true;
  }

  const X509* Certificate() const {
    if constexpr (std::is_same_v<Stream, Tls>)
      return SSL_get0_peer_certificate(const_cast<Stream&>(stream_).native_handle());
    return nullptr;
  }

  // False: it was the last one.
  asio::awaitable<bool> ServeOne(const Handler& handler) {
    parser_.emplace();
    parser_->header_limit(kHeadBytesMax);
    parser_->body_limit(std::numeric_limits<std::uint64_t>::max());  // The handler has its own.
    agreed_ = false;
    answered_ = false;
    read_by_ = std::nullopt;
    idle_ = true;
    beast::error_code error;
    co_await beast::http::async_read_header(stream_, buffer_, *parser_, Into(error));
    idle_ = false;
    ++requests_;
    if (error) {
      if (IsUnreadable(error)) {
        keep_ = false;
        Response refused = AnswerUnreadable(error);
        co_await Respond(std::move(refused));
      } else {
        gone_ = true;  // Or too slow.
      }
      co_return false;
    }
    keep_ = parser_->keep_alive() && !last_;
    if (IsCodedOtherwise()) {
      keep_ = false;
      Response refused = TextResponse(501, "The only Transfer-Encoding here is chunked.\n");
      co_await Respond(std::move(refused));
      co_return false;
    }
    if (head().version() < 11 && head().method() == beast::http::verb::post) {
      keep_ = false;
      Response refused = TextResponse(505, "Calls need HTTP/1.1.\n");
      co_await Respond(std::move(refused));
      co_return false;
    }
    co_await handler(*this);
    left_ = nullptr;
    co_return answered_&& keep_;
  }

  // Whether a peer has sent something that is no request, or is too large.
  static bool IsUnreadable(const beast::error_code& error) {
    return error.category() ==
               beast::http::make_error_code(beast::http::error::bad_method).category() &&
           error != beast::http::error::end_of_stream &&
           error != beast::http::error::partial_message;
  }
  static absl::Status WhyNoBody(const beast::error_code& error) {
    if (error == beast::error::timeout)
      return absl::DeadlineExceededError("The request did not come in time.");
    if (IsUnreadable(error))
      return Refusal(v1::INVALID_FIELD, "The body is not in chunks as HTTP has them.");
    return absl::CancelledError("The client has left.");
  }

  // Whether it says something else of where its body ends than `chunked`. The parser takes that for
  // no body, or for a Content-Length, and a proxy before it may not.
  bool IsCodedOtherwise() const {
    const auto coding = this->Find("Transfer-Encoding");
    return coding.has_value() &&
           (!absl::EqualsIgnoreCase(*coding, "chunked") || head().version() < 11);
  }
  static Response AnswerUnreadable(const beast::error_code& error) {
    if (error == beast::http::error::header_limit)
      return TextResponse(431, "This is more than anybody has to say here.\n");
    return TextResponse(400, "This is no HTTP/1 request.\n");
  }

  void Complete(Response& response) {
    response.version(11);
    response.keep_alive(keep_);
    mark(*this, response);
  }

  // Callers with a large body ask first, and otherwise wait a second for the answer.
  asio::awaitable<bool> AgreeToBody() {
    if (std::exchange(agreed_, true)) co_return true;
    const auto expect = this->Find("Expect");
    if (!expect.has_value() || !absl::EqualsIgnoreCase(*expect, "100-continue") ||
        parser_->is_done())
      co_return true;
    static constexpr absl::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    co_return co_await WriteAll(asio::buffer(kContinue.data(), kContinue.size()));
  }

  template <class Buffers>
  asio::awaitable<bool> WriteAll(Buffers buffers) {
    beast::error_code error;
    tcp_stream().expires_after(times_.part);
    co_await asio::async_write(stream_, buffers, Into(error));
    keep_ = keep_ && !error;
    co_return !error;
  }

  // Waits until the peer has closed, too, so that the response is not lost on its way.
  asio::awaitable<void> Close() {
    if (gone_) co_return;
    idle_ = closing_ = true;
    beast::error_code error;
    tcp_stream().expires_after(times_.first);
    tcp_stream().socket().shutdown(tcp::socket::shutdown_send, error);
    for (char rest[4096]; !error;)
      co_await tcp_stream().async_read_some(asio::buffer(rest), Into(error));
  }

  asio::io_context& context_;
  const Times times_;
  Stream stream_;
  std::string peer_;
  beast::flat_buffer buffer_{kBufferBytesMax};

  // The request at hand.
  std::optional<beast::http::request_parser<beast::http::buffer_body>> parser_;
  bool agreed_ = false;
  std::optional<std::chrono::steady_clock::time_point> read_by_;
  bool answered_ = false;
  // Whether another request may follow.
  bool keep_ = true;
  // Whether none may follow any more.
  bool last_ = false;
  bool gone_ = false;
  bool closing_ = false;
  std::function<void()> left_;
};

}  // namespace sessiond::http
