// The Connect protocol as bytes.
#include "server/http/connect_protocol.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"
#include "state_machine/refusal.h"

namespace sessiond::http {
namespace {

using testing::HasSubstr;

beast::http::fields Head(const std::map<std::string, std::string>& fields) {
  beast::http::fields head;
  for (const auto& [name, value] : fields) head.set(name, value);
  return head;
}

TEST(ConnectProtocol, KnowsItsContentTypes) {
  const struct {
    const char* type;
    const char* kind;  // Empty: not served.
  } kCases[] = {
      {"application/json", "application/json"},
      {"application/json; charset=utf-8", "application/json"},
      {"APPLICATION/JSON;charset=\"UTF-8\"", "application/json"},
      {" application/json ;", "application/json"},
      {"application/proto", "application/proto"},
      {"application/connect+json", "application/connect+json"},
      {"application/connect+proto", "application/connect+proto"},
      {"application/json; charset=latin-1", ""},
      {"application/json; boundary=x", ""},
      {"application/jsonx", ""},
      {"application/connect+xml", ""},
      {"application/grpc", ""},
      {"application/grpc-web+json", ""},
      {"application/x-protobuf", ""},
      {"text/plain", ""},
      {"", ""},
      {";", ""},
  };
  for (const auto& [type, kind] : kCases) {
    const auto parsed = ParseContentType(type);
    EXPECT_EQ(parsed.has_value() ? parsed->name() : "", kind) << type;
  }
}

TEST(ConnectProtocol, TakesVersionOne) {
  EXPECT_TRUE(ParseCallHead(Head({}), false).ok());
  EXPECT_TRUE(ParseCallHead(Head({{"connect-protocol-version", "1"}}), false).ok());
  for (const char* version : {"0", "2", "1.0", "v1", "", "1, 1"}) {
    const absl::Status status =
        ParseCallHead(Head({{"Connect-Protocol-Version", version}}), false).status();
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD) << version;
    EXPECT_THAT(std::string(status.message()), HasSubstr("Connect-Protocol-Version"));
  }
}

TEST(ConnectProtocol, ReadsTimeouts) {
  const auto timeout = [](const char* given) {
    return ParseCallHead(Head({{"Connect-Timeout-Ms", given}}), false);
  };
  EXPECT_EQ(ParseCallHead(Head({}), false)->timeout, std::nullopt);
  EXPECT_EQ(timeout("0")->timeout, absl::ZeroDuration());
  EXPECT_EQ(timeout("1500")->timeout, absl::Milliseconds(1500));
  EXPECT_EQ(timeout("0000000007")->timeout, absl::Milliseconds(7));
  EXPECT_EQ(timeout("9999999999")->timeout, absl::Milliseconds(9'999'999'999));
  for (const char* bad : {"", "-1", "+1", "1.5", "1s", "10000000000", "0x1", "1e3", "１"})
    EXPECT_EQ(ReasonOf(timeout(bad).status()), v1::INVALID_FIELD) << bad;
}

TEST(ConnectProtocol, TakesNothingCompressed) {
  for (const bool stream : {false, true}) {
    const std::string name = stream ? "Connect-Content-Encoding" : "Content-Encoding";
    EXPECT_TRUE(ParseCallHead(Head({{name, "identity"}}), stream).ok());
    for (const char* coding : {"gzip", "br", "", "identity, gzip"}) {
      const absl::Status status = ParseCallHead(Head({{name, coding}}), stream).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << coding;
      EXPECT_THAT(std::string(status.message()), HasSubstr("identity"));
      // As callers see it: it is no defect.
      EXPECT_EQ(rpc::ToRpcStatus(status).code(),
                static_cast<int>(absl::StatusCode::kUnimplemented));
    }
  }
}

TEST(ConnectProtocol, ReadsTheMessageOfAQuery) {
  const std::string bytes = "\x0a\x01?~\xff";
  const struct {
    const char* query;
    Codec codec;
    std::string message;
  } kCases[] = {
      {"encoding=json&message=%7B%22a%22%3A+1%7d", Codec::kJson, R"({"a": 1})"},
      {"message={}&connect=v1&encoding=json", Codec::kJson, "{}"},
      {"encoding=json", Codec::kJson, ""},
      {"encoding=json&&base64=0&message=e30", Codec::kJson, "e30"},
      {"encoding=json&base64=true&message=e30", Codec::kJson, "e30"},
      {"encoding=json&message=e30&base64=1&compression=identity", Codec::kJson, "{}"},
      {"encoding=proto&message=CgE_fv8&base64=1", Codec::kProto, bytes},
      {"encoding=proto&message=CgE_fv8%3D&base64=1", Codec::kProto, bytes},
      {"encoding=proto&message=CgE_fv8=&base64=1", Codec::kProto, bytes},
      {"encoding=proto&message=&base64=1", Codec::kProto, ""},
      {"encoding=json&message=a%3d=b%26c", Codec::kJson, "a==b&c"},
      {"encoding=json&other=%20&more", Codec::kJson, ""},
  };
  for (const auto& [query, codec, message] : kCases) {
    const auto asked = ParseQuery(query);
    ASSERT_TRUE(asked.ok()) << query << asked.status();
    EXPECT_EQ(asked->codec, codec) << query;
    EXPECT_EQ(asked->message, message) << query;
  }
}

TEST(ConnectProtocol, RefusesOtherQueries) {
  const struct {
    const char* query;
    const char* what;
  } kCases[] = {
      {"encoding=json&message=%", "message is \"%\""},
      {"encoding=json&message=%2", "percent-encoded"},
      {"encoding=json&message=%zz", "percent-encoded"},
      {"encoding=json&message=a&message=b", "given once"},
      {"encoding=json&encoding=proto", "encoding"},
      {"encoding=json&connect=v2", "v1"},
      {"encoding=proto&message=a%2Bb&base64=1", "base64"},
      {"encoding=proto&message=a&base64=1", "base64"},
      {"encoding=proto&message=C=gE&base64=1", "base64"},
  };
  for (const auto& [query, what] : kCases) {
    const absl::Status status = ParseQuery(query).status();
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD) << query;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what)) << query;
  }
  EXPECT_EQ(ParseQuery("encoding=json&compression=gzip").status().code(),
            absl::StatusCode::kUnimplemented);
  // 415, which is no refusal of ours.
  for (const char* query : {"", "encoding=xml", "encoding=", "encoding=JSON", "message=e30"}) {
    const auto asked = ParseQuery(query);
    ASSERT_TRUE(asked.ok()) << query;
    EXPECT_EQ(asked->codec, std::nullopt) << query;
  }
}

// Whatever bytes a query and a header have, a sentence about them is text.
TEST(ConnectProtocol, QuotesOnlyText) {
  for (const absl::Status& status :
       {ParseQuery("\xff\x1b=%").status(), ParseQuery("encoding=json&connect=%ff%0a").status(),
        ParseCallHead(Head({{"Connect-Timeout-Ms", "\xff\x1b"}}), false).status()}) {
    ASSERT_FALSE(status.ok());
    for (const char c : std::string(status.message())) EXPECT_TRUE(absl::ascii_isprint(c));
    rapidjson::Document error;
    const std::string json = ErrorJson(rpc::ToRpcStatus(status));
    EXPECT_FALSE(error.Parse<rapidjson::kParseValidateEncodingFlag>(json.data(), json.size())
                     .HasParseError())
        << json;
  }
}

TEST(ConnectProtocol, EveryCodeHasItsNameAndItsStatus) {
  const struct {
    int code;
    const char* name;
    unsigned http;
  } kCodes[] = {{1, "canceled", 499},
                {2, "unknown", 500},
                {3, "invalid_argument", 400},
                {4, "deadline_exceeded", 504},
                {5, "not_found", 404},
                {6, "already_exists", 409},
                {7, "permission_denied", 403},
                {8, "resource_exhausted", 429},
                {9, "failed_precondition", 400},
                {10, "aborted", 409},
                {11, "out_of_range", 400},
                {12, "unimplemented", 501},
                {13, "internal", 500},
                {14, "unavailable", 503},
                {15, "data_loss", 500},
                {16, "unauthenticated", 401},
                {17, "unknown", 500},
                {-1, "unknown", 500}};
  for (const auto& [code, name, http] : kCodes) {
    google::rpc::Status error;
    error.set_code(code);
    error.set_message("No \"way\"\n.");
    EXPECT_EQ(HttpStatusOf(error), http) << code;
    EXPECT_EQ(ErrorJson(error),
              absl::StrCat("{\"code\":\"", name, "\",\"message\":\"No \\\"way\\\"\\n.\"}"));
  }
}

TEST(ConnectProtocol, DetailsAreBase64WithoutPaddingAndReadable) {
  const google::rpc::Status error = rpc::ToRpcStatus(Overloaded("things"));
  rapidjson::Document json;
  ASSERT_FALSE(json.Parse(ErrorJson(error).c_str()).HasParseError());
  ASSERT_EQ(json["details"].Size(), static_cast<unsigned>(error.details_size()));
  for (int i = 0; i < error.details_size(); ++i) {
    const auto& detail = json["details"][i];
    const std::string value = detail["value"].GetString();
    EXPECT_EQ(value.find('='), std::string::npos);
    std::string bytes;
    ASSERT_TRUE(absl::Base64Unescape(value, &bytes));
    EXPECT_EQ(bytes, error.details(i).value());
    EXPECT_EQ(absl::StrCat("type.googleapis.com/", detail["type"].GetString()),
              error.details(i).type_url());
    EXPECT_TRUE(detail["debug"].IsObject());
    EXPECT_FALSE(detail["debug"].HasMember("@type"));
  }
  EXPECT_STREQ(json["details"][0]["debug"]["reason"].GetString(), "OVERLOADED");
}

TEST(ConnectProtocol, ADetailOfAnUnknownTypeIsThere) {
  google::rpc::Status error;
  error.set_code(2);
  error.add_details()->set_type_url("example.com/nobody.knows.This");
  EXPECT_EQ(ErrorJson(error), R"({"code":"unknown","message":"",)"
                              R"("details":[{"type":"nobody.knows.This","value":"","debug":{}}]})");
}

TEST(ConnectProtocol, EnvelopesHaveTheirLengthBigEndian) {
  EXPECT_EQ(Envelope(0, ""), std::string(5, '\0'));
  EXPECT_EQ(Envelope(2, "abc"), std::string("\2\0\0\0\3abc", 8));
  const std::string large = Envelope(1, std::string(0x010203, 'x'));
  EXPECT_EQ(large.substr(0, 5), std::string("\1\0\1\2\3", 5));
  for (const uint32_t length : {0u, 1u, 255u, 256u, 0x80000000u, 0xffffffffu}) {
    const char bytes[kEnvelopeBytes] = {static_cast<char>(0xfe), static_cast<char>(length >> 24),
                                        static_cast<char>(length >> 16),
                                        static_cast<char>(length >> 8), static_cast<char>(length)};
    EXPECT_EQ(ParseEnvelopeHead(bytes).flags, 0xfe);
    EXPECT_EQ(ParseEnvelopeHead(bytes).length, length);
  }
}

TEST(ConnectProtocol, AStreamEndsWithItsErrorAndItsTrailers) {
  EXPECT_EQ(EndOfStream({}, {}), Envelope(2, "{}"));
  EXPECT_EQ(EndOfStream({}, {{"a", "1"}, {"b", "2"}}),
            Envelope(2, R"({"metadata":{"a":["1"],"b":["2"]}})"));
  google::rpc::Status error;
  error.set_code(14);
  EXPECT_EQ(EndOfStream(error, {}),
            Envelope(2, R"({"error":{"code":"unavailable","message":""}})"));
}

}  // namespace
}  // namespace sessiond::http
