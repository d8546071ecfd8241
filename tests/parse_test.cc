// Bytes that are, and are not, requests; and text that is, and is not, UTF-8.
#include "server/rpc/parse.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sessiond/v1/session_service.pb.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/utf8.h"
#include "tests/refusals.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::util::MessageDifferencer;

grpc::ByteBuffer Buffer(const std::vector<std::string>& parts) {
  std::vector<grpc::Slice> slices;
  for (const std::string& part : parts) slices.emplace_back(part);
  return {slices.data(), slices.size()};
}

template <class Request>
absl::Status Parse(const std::string& bytes, Request* request) {
  grpc::ByteBuffer buffer = Buffer({bytes});
  return ParseRequest(buffer, request);
}

v1::UpdateSessionRequest Sample() {
  v1::UpdateSessionRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(session {
             session_id: "0192f3c4-9f2e-7abc-8def-0123456789ab"
             owner_id: "owner"
             labels { key: "team" value: "a" }
             context {
               fields {
                 key: "site_name"
                 value { string_value: "site" }
               }
               fields {
                 key: "list"
                 value { list_value { values { number_value: 1 } } }
               }
             }
             create_time { seconds: 5 }
           }
           update_mask { paths: "labels.team" }
           counter_increments { key: "n" value: 3 }
           request_id: "r")pb",
      &request));
  return request;
}

TEST(ParseRequest, TakesAMessageWholeOrInPieces) {
  const std::string bytes = Sample().SerializeAsString();
  for (std::size_t cut = 0; cut <= bytes.size(); cut += 7) {
    grpc::ByteBuffer buffer = Buffer({bytes.substr(0, cut), bytes.substr(cut)});
    v1::UpdateSessionRequest parsed;
    ASSERT_TRUE(ParseRequest(buffer, &parsed).ok());
    EXPECT_TRUE(MessageDifferencer::Equals(parsed, Sample()));
  }
  v1::PauseSessionRequest empty;
  EXPECT_TRUE(Parse("", &empty).ok());
}

TEST(ParseRequest, DropsUnknownFields) {
  v1::PauseSessionRequest plain, extended;
  plain.set_session_id("x");
  // Field 999, a string; a daemon of another version may know it.
  ASSERT_TRUE(Parse(plain.SerializeAsString() + "\xBA\x3E\x01z", &extended).ok());
  EXPECT_EQ(extended.SerializeAsString(), plain.SerializeAsString());
}

TEST(ParseRequest, RefusesWhatIsTooLargeUnread) {
  v1::PauseSessionRequest request;
  const absl::Status status = Parse(std::string((4 << 20) + 1, '\xFF'), &request);
  EXPECT_EQ(ReasonOf(status), v1::PAYLOAD_TOO_LARGE);
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("size"), "4194305");
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("limit"), "4194304");
  EXPECT_EQ(ReasonOf(Parse(std::string(4 << 20, '\xFF'), &request)), v1::INVALID_FIELD);
}

// A field on the wire: its number, as a length-delimited one, and its bytes (fewer than 128).
std::string Field(int number, const std::string& content) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(content.size())) + content;
}

struct Broken {
  std::string bytes;
  std::string path;
  std::string sentence;
};

TEST(ParseRequest, NamesTheFieldAtWhichBytesStopBeingAMessage) {
  // UpdateSessionRequest: session 1, update_mask 2, counter_increments 3, request_id 4.
  // Session: owner_id 5, context 14, labels 17.
  const std::string bad = "\xC3\x28";
  const std::vector<Broken> all = {
      {Field(4, bad), "request_id", "is not valid UTF-8"},
      {Field(1, Field(5, bad)), "session.owner_id", "is not valid UTF-8"},
      {Field(2, Field(1, bad)), "update_mask.paths", "is not valid UTF-8"},
      {Field(3, Field(1, bad)), "counter_increments.key", "is not valid UTF-8"},
      {Field(1, Field(14, Field(1, Field(1, bad)))), "session.context.fields.key",
       "is not valid UTF-8"},
      {Field(1, Field(14, Field(1, Field(2, Field(3, bad))))),
       "session.context.fields.value.string_value", "is not valid UTF-8"},
      {"\x22\x05"
       "ab",
       "request_id", "ends in the middle"},
      {Field(1,
             "\x2A\x05"
             "ab"),
       "session.owner_id", "ends in the middle"},
      {"\xFF", "", "is not a Protobuf message of its type"},
      {Field(1, std::string("\x38", 1)), "session.state", "ends in the middle"},
  };
  for (const Broken& broken : all) {
    v1::UpdateSessionRequest request;
    const absl::Status status = Parse(broken.bytes, &request);
    ASSERT_EQ(ReasonOf(status), v1::INVALID_FIELD) << broken.path;
    EXPECT_EQ(ErrorInfoOf(status).metadata().at("field"), broken.path);
    const WireProblem problem = ExplainWire(broken.bytes, *request.GetDescriptor());
    EXPECT_EQ(problem.path, broken.path);
    EXPECT_EQ(problem.sentence, broken.sentence);
    const auto details = DetailOf<google::rpc::BadRequest>(status);
    ASSERT_EQ(details.field_violations_size(), 1);
    EXPECT_EQ(details.field_violations(0).field(), broken.path);
  }
  EXPECT_EQ(ExplainWire(Sample().SerializeAsString(), *Sample().GetDescriptor()).sentence, "");
}

TEST(ParseRequest, RefusesBottomlessNesting) {
  const auto nested = [](int levels) {
    google::protobuf::Value value;
    value.set_bool_value(true);
    for (int i = 0; i < levels; ++i) {
      google::protobuf::Value outer;
      outer.mutable_list_value()->add_values()->Swap(&value);
      value.Swap(&outer);
    }
    v1::CreateSessionRequest request;
    (*request.mutable_session()->mutable_context()->mutable_fields())["k"] = value;
    return request.SerializeAsString();
  };
  v1::CreateSessionRequest request;
  EXPECT_TRUE(Parse(nested(10), &request).ok());
  for (const int levels : {100, 5'000}) {
    const absl::Status status = Parse(nested(levels), &request);
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
    EXPECT_NE(status.message().find("nested too deeply"), absl::string_view::npos) << status;
  }
}

// What takes much more memory than it has bytes.
TEST(ParseRequest, RefusesTooManyFieldsUnparsed) {
  const auto with_values = [](int values) {
    v1::CreateSessionRequest request;
    auto* list =
        (*request.mutable_session()->mutable_context()->mutable_fields())["k"].mutable_list_value();
    for (int i = 0; i < values; ++i) list->add_values();
    return request.SerializeAsString();
  };
  // Session, context, entry, key, value and list are counted, too.
  v1::CreateSessionRequest request;
  EXPECT_TRUE(Parse(with_values(500'000 - 6), &request).ok());
  EXPECT_EQ(request.session().context().fields().at("k").list_value().values_size(), 500'000 - 6);
  v1::CreateSessionRequest refused;
  const absl::Status status = Parse(with_values(500'000 - 5), &refused);
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD) << status;
  EXPECT_EQ(FieldOf(status), "session.context") << status;
  EXPECT_FALSE(refused.has_session());
  v1::LookupSessionsRequest ids;
  for (int i = 0; i <= 500'000; ++i) ids.add_session_ids();
  EXPECT_EQ(FieldOf(Parse(ids.SerializeAsString(), &ids)), "session_ids");
  EXPECT_EQ(ReasonOf(Parse(std::string(1'100'000, '\x0a'), &refused)), v1::INVALID_FIELD);
}

TEST(SerializeReply, RefusesWhatIsTooLarge) {
  v1::Session session;
  session.set_owner_id(std::string(4 << 20, 'x'));
  grpc::ByteBuffer buffer;
  EXPECT_EQ(ReasonOf(SerializeReply(session, &buffer)), v1::PAYLOAD_TOO_LARGE);
  EXPECT_EQ(ReasonOf(SerializeReply(Serialized<v1::Session>::Of(session), &buffer)),
            v1::PAYLOAD_TOO_LARGE);
  session.set_owner_id("small");
  v1::Session back;
  ASSERT_TRUE(SerializeReply(session, &buffer).ok());
  ASSERT_TRUE(ParseRequest(buffer, &back).ok());
  EXPECT_EQ(back.owner_id(), "small");
  ASSERT_TRUE(SerializeReply(Serialized<v1::Session>::Of(session), &buffer).ok());
  ASSERT_TRUE(ParseRequest(buffer, &back).ok());
  EXPECT_EQ(back.owner_id(), "small");
}

// Every sequence of up to three bytes, and four-byte ones around the edges, against the table of
// RFC 3629, section 4.
bool IsUtf8ByTheTable(const std::string& text) {
  struct Form {
    unsigned first, last, second_from, second_to;
    int length;
  };
  constexpr Form kForms[] = {
      {0x00, 0x7F, 0, 0, 1},       {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
      {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
      {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
  };
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    int length = 0;
    for (const Form& form : kForms) {
      if (byte(i) < form.first || byte(i) > form.last) continue;
      if (form.length > 1 && (byte(i + 1) < form.second_from || byte(i + 1) > form.second_to))
        return false;
      for (int k = 2; k < form.length; ++k) {
        if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return false;
      }
      length = form.length;
    }
    if (length == 0) return false;
    i += length;
  }
  return true;
}

TEST(Utf8, IsThatOfTheRfc) {
  std::size_t valid = 0;
  const auto expect = [&](const std::string& text) {
    const bool expected = IsUtf8ByTheTable(text);
    valid += expected ? 1 : 0;
    if (IsValidUtf8(text) != expected) ADD_FAILURE() << testing::PrintToString(text);
  };
  for (int a = 0; a < 256; ++a) {
    const char first = static_cast<char>(a);
    expect({first});
    for (int b = 0; b < 256; ++b) {
      const char second = static_cast<char>(b);
      expect({first, second});
      for (const int c : {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF}) {
        const char third = static_cast<char>(c);
        expect({first, second, third});
        for (const int d : {0x00, 0x7F, 0x80, 0xBF, 0xC0})
          expect({first, second, third, static_cast<char>(d)});
      }
    }
  }
  EXPECT_GT(valid, 10'000u);
}

TEST(Utf8, KnowsControlsAndNoncharacters) {
  for (const char* text : {"", "a", "ä€😀", "\u00A0", "\uFFFD", " ", "\u2028"}) {
    EXPECT_FALSE(HasControls(text)) << text;
  }
  for (const char* text : {"\n", "a\t", "\x1F", "\x7F", "\u0080", "\u009F", "x\uFDD0", "\uFDEF",
                           "\uFFFE", "\uFFFF", "\U0001FFFE", "\U0010FFFF"}) {
    EXPECT_TRUE(HasControls(text)) << testing::PrintToString(text);
  }
  EXPECT_TRUE(HasControls(absl::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace sessiond::rpc
