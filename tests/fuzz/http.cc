// HTTP: what a peer sends on one connection, read as server/http/connection.h reads it, request by
// request (its coroutines cannot be compiled by clang 14 with AddressSanitizer); then what heads
// and targets say, by the Connect protocol.
#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/http/connect_protocol.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond::http {
namespace {

using fuzz::Expect;

// A peer whose bytes come in pieces.
struct Peer {
  absl::string_view rest;
  std::size_t piece_bytes;

  template <class Buffers>
  std::size_t read_some(const Buffers& buffers, beast::error_code& error) {
    if (rest.empty()) error = asio::error::eof;
    const std::size_t read =
        asio::buffer_copy(buffers, asio::buffer(rest.data(), std::min(piece_bytes, rest.size())));
    rest.remove_prefix(read);
    return read;
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers) {
    beast::error_code error;
    const std::size_t read = read_some(buffers, error);
    if (error) throw beast::system_error(error);
    return read;
  }
};

// As connect_call.cc reads the head of a call.
void CheckHead(const beast::http::request_header<>& head) {
  if (const auto type = head.find(beast::http::field::content_type); type != head.end()) {
    const auto kind = ParseContentType(View(type->value()));
    Expect(!kind.has_value() || ParseContentType(kind->name())->name() == kind->name(),
           "A content type is that which it is called.", View(type->value()));
  }
  for (const bool stream : {false, true}) {
    const auto call = ParseCallHead(head, stream);
    if (!call.ok()) fuzz::ExpectSentence(call.status());
  }
  const absl::string_view target = View(head.target());
  const std::size_t query = std::min(target.find('?'), target.size() - 1) + 1;
  const auto asked = ParseQuery(target.substr(target.empty() ? 0 : query));
  if (!asked.ok()) fuzz::ExpectSentence(asked.status());
}

// The requests, as far as there are any, and how it ends.
std::string Read(Peer peer) {
  std::string read;
  beast::flat_buffer buffer(64 << 10);
  for (bool more = true; more;) {
    beast::http::request_parser<beast::http::buffer_body> parser;
    parser.header_limit(8192);
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    beast::error_code error;
    beast::http::read_header(peer, buffer, parser, error);
    if (error) return absl::StrCat(read, "\n");
    CheckHead(parser.get());
    absl::StrAppend(&read, "\n", View(parser.get().method_string()), " ",
                    View(parser.get().target()), "\n");
    while (!parser.is_done()) {
      char part[8192];
      auto& body = parser.get().body();
      body.data = part;
      body.size = sizeof(part);
      beast::http::read_some(peer, buffer, parser, error);
      if (error == beast::http::error::need_buffer) error = {};
      read.append(part, sizeof(part) - parser.get().body().size);
      if (error) return absl::StrCat(read, "…");
    }
    more = parser.keep_alive();
  }
  return read;
}

}  // namespace

FUZZ_INPUT(input) {
  const absl::string_view bytes = input.Rest();
  const std::string whole = Read({bytes, bytes.size()});
  fuzz::Expect(Read({bytes, 7}) == whole, "Requests are the same in whatever pieces they come.",
               whole);
}

}  // namespace sessiond::http
