// The Connect protocol (https://connectrpc.com/docs/protocol), version 1, as bytes: what a request
// asks for, and how answers, errors and messages of a stream are written. No I/O.
//
//   unary    POST /sessiond.v1.SessionService/GetSession   application/json, application/proto
//            GET  the same, with ?encoding=…&message=…     methods without side effects
//   stream   POST, application/connect+json or +proto      messages in envelopes:
//            flags (1 byte) · length (4 bytes, big endian) · message
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"
#include "server/http/asio.h"

namespace sessiond::http {

enum class Codec { kJson, kProto };

// What the head of a request says of its body.
struct BodyKind {
  Codec codec = Codec::kJson;
  bool stream = false;

  // As a Content-Type.
  absl::string_view name() const;
};

// Nothing: no content type that is served here.
std::optional<BodyKind> ParseContentType(absl::string_view content_type);
// For Accept-Post.
inline constexpr absl::string_view kContentTypes =
    "application/json, application/proto, application/connect+json, application/connect+proto";

// What a caller says besides its message. INVALID_FIELD: another version of the protocol, a
// timeout that is none. UNIMPLEMENTED: a compressed body.
struct CallHead {
  // Nothing: none was given.
  std::optional<absl::Duration> timeout;
};
absl::StatusOr<CallHead> ParseCallHead(const beast::http::fields& head, bool stream);

// The message of a GET, in its query. INVALID_FIELD: not as the protocol has it. UNIMPLEMENTED: it
// is compressed.
struct QueryMessage {
  // Nothing: one that is not served here.
  std::optional<Codec> codec;
  std::string message;
};
absl::StatusOr<QueryMessage> ParseQuery(absl::string_view query);

// What the `code` of an error may be.
std::vector<absl::string_view> ErrorCodes();

// The status line of an error, and its body: {"code", "message", "details"}.
unsigned HttpStatusOf(const google::rpc::Status& error);
std::string ErrorJson(const google::rpc::Status& error);

// A message of a stream.
inline constexpr uint8_t kEndOfStream = 2;
inline constexpr std::size_t kEnvelopeBytes = 5;
struct EnvelopeHead {
  uint8_t flags = 0;
  uint32_t length = 0;
};
EnvelopeHead ParseEnvelopeHead(const char (&bytes)[kEnvelopeBytes]);
std::string Envelope(uint8_t flags, absl::string_view message);

// The last message of a stream; `error`: OK for none. `metadata`: trailers.
std::string EndOfStream(const google::rpc::Status& error,
                        const std::map<std::string, std::string>& metadata);

}  // namespace sessiond::http
