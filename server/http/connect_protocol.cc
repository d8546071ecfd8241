#include "server/http/connect_protocol.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/util/json_util.h>
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <array>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "state_machine/refusal.h"

namespace sessiond::http {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

// By the number of gRPC's code, which is also Abseil's.
struct Code {
  absl::string_view name;
  unsigned http;
};
constexpr std::array<Code, 17> kCodes = {{{"ok", 200},
                                          {"canceled", 499},
                                          {"unknown", 500},
                                          {"invalid_argument", 400},
                                          {"deadline_exceeded", 504},
                                          {"not_found", 404},
                                          {"already_exists", 409},
                                          {"permission_denied", 403},
                                          {"resource_exhausted", 429},
                                          {"failed_precondition", 400},
                                          {"aborted", 409},
                                          {"out_of_range", 400},
                                          {"unimplemented", 501},
                                          {"internal", 500},
                                          {"unavailable", 503},
                                          {"data_loss", 500},
                                          {"unauthenticated", 401}}};

const Code& CodeOf(const google::rpc::Status& status) {
  const bool known = status.code() > 0 && status.code() < static_cast<int>(kCodes.size());
  return kCodes[known ? status.code() : 2];
}

std::optional<absl::string_view> Find(const beast::http::fields& head, absl::string_view name) {
  const auto found = head.find({name.data(), name.size()});
  if (found == head.end()) return std::nullopt;
  return View(found->value());
}

// Of what the caller sent, in a sentence to the caller.
std::string Quotable(absl::string_view text) { return absl::CHexEscape(text.substr(0, 80)); }

absl::Status BadHeader(absl::string_view name, absl::string_view value, absl::string_view what) {
  const std::string printable = Quotable(name);
  return Refusal(v1::INVALID_FIELD, absl::StrCat(printable, " is \"", Quotable(value),
                                                 "\", and has to be ", what, "."))
      .Violation(printable, absl::StrCat("has to be ", what));
}

absl::Status Compressed(absl::string_view name, absl::string_view value) {
  return absl::UnimplementedError(
      absl::StrCat(name, " is \"", Quotable(value),
                   "\": requests are not compressed here, which is identity, or left out."));
}

void Text(Writer& writer, absl::string_view text) {
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

// The detail once more, for people who read. Nothing: its type is not known here.
void WriteDebug(Writer& writer, const google::protobuf::Any& detail) {
  google::protobuf::util::JsonPrintOptions options;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(detail, &json, options).ok()) return;
  rapidjson::Document debug;
  if (debug.Parse(json.data(), json.size()).HasParseError() || !debug.IsObject()) return;
  debug.RemoveMember("@type");
  writer.Key("debug");
  debug.Accept(writer);
}

void WriteError(Writer& writer, const google::rpc::Status& error) {
  writer.StartObject();
  writer.Key("code");
  Text(writer, CodeOf(error).name);
  writer.Key("message");
  Text(writer, error.message());
  if (!error.details().empty()) {
    writer.Key("details");
    writer.StartArray();
    for (const google::protobuf::Any& detail : error.details()) {
      const absl::string_view url = detail.type_url();
      std::string value = absl::Base64Escape(detail.value());
      value.resize(value.size() - std::count(value.begin(), value.end(), '='));
      writer.StartObject();
      writer.Key("type");
      Text(writer, url.substr(url.rfind('/') + 1));
      writer.Key("value");
      Text(writer, value);
      WriteDebug(writer, detail);
      writer.EndObject();
    }
    writer.EndArray();
  }
  writer.EndObject();
}

// Nothing: not percent-encoded.
std::optional<std::string> Decoded(absl::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      decoded += ' ';
    } else if (text[i] != '%') {
      decoded += text[i];
    } else if (i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
               absl::ascii_isxdigit(text[i + 2])) {
      decoded += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      return std::nullopt;
    }
  }
  return decoded;
}

}  // namespace

absl::string_view BodyKind::name() const {
  if (stream)
    return codec == Codec::kJson ? "application/connect+json" : "application/connect+proto";
  return codec == Codec::kJson ? "application/json" : "application/proto";
}

std::optional<BodyKind> ParseContentType(absl::string_view content_type) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(content_type, absl::MaxSplits(';', 1));
  const std::string type = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.first));
  std::string parameter = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.second));
  parameter.erase(std::remove(parameter.begin(), parameter.end(), '"'), parameter.end());
  if (!parameter.empty() && parameter != "charset=utf-8") return std::nullopt;
  for (const bool stream : {false, true}) {
    for (const Codec codec : {Codec::kJson, Codec::kProto}) {
      const BodyKind kind{codec, stream};
      if (type == kind.name()) return kind;
    }
  }
  return std::nullopt;
}

absl::StatusOr<CallHead> ParseCallHead(const beast::http::fields& head, bool stream) {
  CallHead call;
  constexpr absl::string_view kVersion = "Connect-Protocol-Version";
  if (const auto version = Find(head, kVersion); version.has_value() && *version != "1")
    return BadHeader(kVersion, *version, "1, or left out");
  constexpr absl::string_view kTimeout = "Connect-Timeout-Ms";
  if (const auto timeout = Find(head, kTimeout); timeout.has_value()) {
    int64_t milliseconds = 0;
    const bool digits = !timeout->empty() && timeout->size() <= 10 &&
                        std::all_of(timeout->begin(), timeout->end(), absl::ascii_isdigit);
    if (!digits || !absl::SimpleAtoi(*timeout, &milliseconds))
      return BadHeader(kTimeout, *timeout, "a number of milliseconds, of at most 10 digits");
    call.timeout = absl::Milliseconds(milliseconds);
  }
  const absl::string_view encoding = stream ? "Connect-Content-Encoding" : "Content-Encoding";
  if (const auto given = Find(head, encoding); given.has_value() && *given != "identity")
    return Compressed(encoding, *given);
  return call;
}

absl::StatusOr<QueryMessage> ParseQuery(absl::string_view query) {
  std::map<std::string, std::string> given;
  for (const absl::string_view pair : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    const std::optional<std::string> value = Decoded(parts.second);
    if (!value.has_value()) return BadHeader(parts.first, parts.second, "percent-encoded");
    if (!given.emplace(std::string(parts.first), *value).second)
      return BadHeader(parts.first, *value, "given once");
  }
  QueryMessage asked;
  if (const auto version = given.find("connect"); version != given.end() && version->second != "v1")
    return BadHeader("connect", version->second, "v1, or left out");
  const std::string& encoding = given["encoding"];
  if (encoding == "json") asked.codec = Codec::kJson;
  if (encoding == "proto") asked.codec = Codec::kProto;
  const std::string& compression = given["compression"];
  if (!compression.empty() && compression != "identity")
    return Compressed("compression", compression);
  // Values other than 1 are to be ignored.
  const std::string& base64 = given["base64"];
  asked.message = std::move(given["message"]);
  if (base64 == "1") {
    std::string decoded;
    std::string padless = asked.message;
    while (!padless.empty() && padless.back() == '=') padless.pop_back();
    if (!absl::WebSafeBase64Unescape(padless, &decoded))
      return BadHeader("message", asked.message, "URL-safe base64, as base64=1 says");
    asked.message = std::move(decoded);
  }
  return asked;
}

std::vector<absl::string_view> ErrorCodes() {
  std::vector<absl::string_view> names;
  for (std::size_t i = 1; i < kCodes.size(); ++i) names.push_back(kCodes[i].name);  // 0: no error.
  return names;
}

unsigned HttpStatusOf(const google::rpc::Status& error) { return CodeOf(error).http; }

std::string ErrorJson(const google::rpc::Status& error) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  WriteError(writer, error);
  return {buffer.GetString(), buffer.GetSize()};
}

EnvelopeHead ParseEnvelopeHead(const char (&bytes)[kEnvelopeBytes]) {
  EnvelopeHead head{.flags = static_cast<uint8_t>(bytes[0])};
  for (std::size_t i = 1; i < kEnvelopeBytes; ++i)
    head.length = head.length << 8 | static_cast<uint8_t>(bytes[i]);
  return head;
}

std::string Envelope(uint8_t flags, absl::string_view message) {
  const auto length = static_cast<uint32_t>(message.size());
  std::string bytes;
  bytes.reserve(kEnvelopeBytes + message.size());
  bytes += static_cast<char>(flags);
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(length >> shift);
  bytes.append(message.data(), message.size());
  return bytes;
}

std::string EndOfStream(const google::rpc::Status& error,
                        const std::map<std::string, std::string>& metadata) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  if (error.code() != 0) {
    writer.Key("error");
    WriteError(writer, error);
  }
  if (!metadata.empty()) {
    writer.Key("metadata");
    writer.StartObject();
    for (const auto& [name, value] : metadata) {
      Text(writer, name);
      writer.StartArray();
      Text(writer, value);
      writer.EndArray();
    }
    writer.EndObject();
  }
  writer.EndObject();
  return Envelope(kEndOfStream, {buffer.GetString(), buffer.GetSize()});
}

}  // namespace sessiond::http
