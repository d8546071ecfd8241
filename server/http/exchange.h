// One request and its answer: what handlers see of an HTTP connection, whether it is TLS or not.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/access/authenticator.h"
#include "server/http/asio.h"

namespace sessiond::http {

using Head = beast::http::request_header<>;
using Response = beast::http::response<beast::http::string_body>;

// Only for the server's thread, except where noted.
class Exchange {
 public:
  virtual const Head& head() const = 0;
  // What is before the `?` of the target, and what is behind it.
  std::pair<absl::string_view, absl::string_view> target() const;
  // The value of a header; nothing: there is none.
  std::optional<absl::string_view> Find(absl::string_view name) const;

  // What the peer brings to say who it is.
  virtual access::Credentials credentials() const = 0;
  // Its address, for the log.
  virtual std::string peer() const = 0;

  // The body's length; nothing: it comes in chunks.
  virtual std::optional<uint64_t> body_bytes() const = 0;
  // More of the body, as it comes; empty: that was all. CANCELLED: the peer has gone.
  // DEADLINE_EXCEEDED: it is too slow. INVALID_FIELD: it sends what is no body.
  virtual asio::awaitable<absl::StatusOr<std::string>> ReadSome() = 0;
  // What is read from now on has to have come by then; nothing: it only has to go on. A peer that
  // sends a byte now and then would otherwise keep what it has sent here for ever.
  virtual void ReadBy(std::optional<std::chrono::steady_clock::time_point> end) = 0;
  // Ends a read that is under way.
  virtual void StopReading() = 0;

  // Answers, once. False: the peer has gone, or is too slow.
  virtual asio::awaitable<bool> Respond(Response response) = 0;
  // Or answers in pieces: the head, then any number of them, then the end.
  virtual asio::awaitable<bool> Begin(Response head) = 0;
  virtual asio::awaitable<bool> Write(std::string piece) = 0;
  virtual asio::awaitable<bool> End() = 0;

  // While a call runs for this request: `left` is called once if the peer goes. Null: no more.
  virtual void OnDeparture(std::function<void()> left) = 0;
  // A function that cuts the connection, on any thread and at any time.
  virtual std::function<void()> Cutter() = 0;
  virtual asio::io_context& context() = 0;

 protected:
  ~Exchange() = default;
};

// With its content's type.
Response MakeResponse(unsigned status, std::string content, absl::string_view content_type);
// For people.
Response TextResponse(unsigned status, std::string text);

}  // namespace sessiond::http
