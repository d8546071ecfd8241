// UpdateSession's plain fields: whatever they say is what a mask says, and is refused as it is.
#include "server/rpc/plain_fields.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "server/rpc/output_only.h"
#include "server/rpc/validate.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

using ::testing::HasSubstr;

v1::UpdateSessionRequest Parse(const std::string& text) {
  v1::UpdateSessionRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  if (request.session().session_id().empty())
    request.mutable_session()->set_session_id("0192f3c4-9f2e-7abc-8def-0123456789ab");
  return request;
}

// As session_store.cc makes a payload of it: two requests with the same bytes are the same.
std::string Payload(const v1::UpdateSessionRequest& request) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  request.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

// What the handler gets of a request.
v1::UpdateSessionRequest Handled(v1::UpdateSessionRequest request) {
  EXPECT_TRUE(Validate(request).ok()) << Validate(request) << request.DebugString();
  DropOutputOnly(request);
  TakePlainFields(request);
  return request;
}
std::string Handled(const std::string& text) { return Payload(Handled(Parse(text))); }

TEST(PlainFields, SayWhatAMaskSays) {
  struct Pair {
    const char* plain;
    const char* masked;
  };
  constexpr Pair kPairs[] = {
      {"set_context { fields { key: 'site_name' value { string_value: 's' } } }",
       "session { context { fields { key: 'site_name' value { string_value: 's' } } } } "
       "update_mask { paths: 'context.site_name' }"},
      {"set_context { fields { key: 'n' value { null_value: NULL_VALUE } } }",
       "session { context { fields { key: 'n' value { null_value: NULL_VALUE } } } } "
       "update_mask { paths: 'context.n' }"},
      {"remove_context_keys: 'site_name'", "update_mask { paths: 'context.site_name' }"},
      {"set_labels { key: 'team' value: 'a' }",
       "session { labels { key: 'team' value: 'a' } } update_mask { paths: 'labels.team' }"},
      {"set_labels { key: 'a.b' value: '' }",
       "session { labels { key: 'a.b' value: '' } } update_mask { paths: 'labels.`a.b`' }"},
      {"remove_label_keys: 'a.b' remove_label_keys: 'team'",
       "update_mask { paths: 'labels.`a.b`' paths: 'labels.team' }"},
      {"set_references { key: 'job_posting' value: 'j1' }",
       "session { references { key: 'job_posting' value: 'j1' } } "
       "update_mask { paths: 'references.job_posting' }"},
      {"remove_reference_keys: 'job_posting'", "update_mask { paths: 'references.job_posting' }"},
      // All of them, a mask and a counter; behind the mask's own paths, by field and key.
      {"session { hold: true labels { key: 'own' value: 'o' } } "
       "update_mask { paths: 'labels.own' paths: 'hold' } "
       "counter_increments { key: 'n' value: 1 } etag: 'r1' actor: 'ada' "
       "remove_context_keys: 'a' set_context { fields { key: 'b' value { bool_value: true } } } "
       "remove_label_keys: 'c' set_labels { key: 'b' value: '2' } set_labels { key: 'a' value: '1' "
       "} "
       "set_references { key: 'r' value: 's' } remove_reference_keys: 'q'",
       "session { hold: true labels { key: 'own' value: 'o' } labels { key: 'a' value: '1' } "
       "labels { key: 'b' value: '2' } references { key: 'r' value: 's' } "
       "context { fields { key: 'b' value { bool_value: true } } } } "
       "update_mask { paths: 'labels.own' paths: 'hold' paths: 'context.a' paths: 'context.b' "
       "paths: 'references.q' paths: 'references.r' "
       "paths: 'labels.a' paths: 'labels.b' paths: 'labels.c' } "
       "counter_increments { key: 'n' value: 1 } etag: 'r1' actor: 'ada'"},
  };
  for (const Pair& pair : kPairs) {
    EXPECT_EQ(Handled(pair.plain), Handled(pair.masked))
        << Handled(Parse(pair.plain)).DebugString();
  }
}

// A session that is sent back as it was read says nothing about keys that are set or removed.
TEST(PlainFields, TheSessionBesideThemIsNoInput) {
  EXPECT_EQ(Handled("session { context { fields { key: 'a' value { number_value: 1 } } } "
                    "labels { key: 'team' value: 'old' } labels { key: 'gone' value: 'x' } } "
                    "set_labels { key: 'team' value: 'new' } remove_label_keys: 'gone' "
                    "remove_context_keys: 'a'"),
            Handled("set_labels { key: 'team' value: 'new' } remove_label_keys: 'gone' "
                    "remove_context_keys: 'a'"));
}

// They are part of what a request id stands for; the order of removals is not.
TEST(PlainFields, MakeThePayload) {
  const char* const kDifferent[] = {
      "counter_increments { key: 'n' value: 1 }",
      "set_labels { key: 'a' value: '' }",
      "set_labels { key: 'a' value: '1' }",
      "set_labels { key: 'b' value: '1' }",
      "remove_label_keys: 'a'",
      "set_context { fields { key: 'a' value { string_value: '1' } } }",
      "set_context { fields { key: 'a' value { number_value: 1 } } }",
      "remove_context_keys: 'a'",
      "set_references { key: 'a' value: '1' }",
      "remove_reference_keys: 'a'",
      "remove_reference_keys: 'a' remove_reference_keys: 'b'",
  };
  std::set<std::string> payloads;
  for (const char* text : kDifferent) payloads.insert(Handled(text));
  EXPECT_EQ(payloads.size(), std::size(kDifferent));
  EXPECT_EQ(Handled("remove_reference_keys: 'a' remove_reference_keys: 'b'"),
            Handled("remove_reference_keys: 'b' remove_reference_keys: 'a'"));
}

// Request rows that are stored keep their meaning.
TEST(PlainFields, ARequestWithoutThemIsAsItWas) {
  for (const char* text :
       {"session { labels { key: 'team' value: 'a' } } update_mask { paths: 'labels.team' }",
        "session { context {} } update_mask { paths: 'context' }",
        "counter_increments { key: 'n' value: 1 }",
        "set_context {} counter_increments { key: 'n' value: 1 }"}) {
    v1::UpdateSessionRequest request = Parse(text);
    DropOutputOnly(request);
    v1::UpdateSessionRequest taken = request;
    TakePlainFields(taken);
    request.clear_set_context();
    EXPECT_EQ(Payload(taken), Payload(request)) << text;
  }
  // `session { session_id } counter_increments { n: 1 }`, as it was before there were plain fields.
  EXPECT_EQ(Handled("session { session_id: 'exec_20260102_030405_abcdefgh' } "
                    "counter_increments { key: 'n' value: 1 }"),
            std::string("\x0A\x1F\x0A\x1D"
                        "exec_20260102_030405_abcdefgh"
                        "\x1A\x05\x0A\x01"
                        "n\x10\x01"));
}

struct Refused {
  const char* request;
  v1::ErrorReason reason;
  // The field, or the mask's path, that ErrorInfo names.
  const char* name;
  const char* sentence;
};

TEST(PlainFields, AreRefusedByName) {
  constexpr Refused kRefused[] = {
      {"set_context {} ", v1::INVALID_FIELD_MASK, "", "nothing would change"},
      {"set_labels { key: 'a' value: '1' } remove_label_keys: 'b' remove_label_keys: 'a'",
       v1::INVALID_FIELD, "remove_label_keys[1]", "as set_labels.a sets; set the key or remove it"},
      {"set_context { fields { key: 'a' value { bool_value: true } } } remove_context_keys: 'a'",
       v1::INVALID_FIELD, "remove_context_keys[0]", "as set_context.a sets"},
      {"set_references { key: 'a' value: '1' } remove_reference_keys: 'a'", v1::INVALID_FIELD,
       "remove_reference_keys[0]", "as set_references.a sets"},
      {"remove_label_keys: 'a' remove_label_keys: 'a'", v1::INVALID_FIELD, "remove_label_keys[1]",
       "as remove_label_keys[0] is; name it once"},
      {"set_context { fields { key: '' value { bool_value: true } } }", v1::INVALID_FIELD,
       "set_context.", "must have a key"},
      {"set_context { fields { key: 'a`b' value { bool_value: true } } }", v1::INVALID_FIELD,
       "set_context.a`b", "without backticks"},
      {"set_context { fields { key: 'a' value {} } }", v1::INVALID_FIELD, "set_context.a",
       "has no value"},
      {"remove_context_keys: ''", v1::INVALID_FIELD, "remove_context_keys[0]", "must have a key"},
      {"remove_context_keys: 'a`b'", v1::INVALID_FIELD, "remove_context_keys[0]",
       "without backticks"},
      {"set_labels { key: 'My_Key' value: '1' }", v1::INVALID_FIELD, "set_labels.My_Key",
       "is not a key: it must be [a-z][a-z0-9_.-]{0,62}"},
      {"remove_label_keys: 'My_Key'", v1::INVALID_FIELD, "remove_label_keys[0]",
       "must be [a-z][a-z0-9_.-]{0,62}"},
      {"remove_label_keys: ''", v1::INVALID_FIELD, "remove_label_keys[0]", "must be [a-z]"},
      {"set_references { key: 'r' value: '' }", v1::INVALID_FIELD, "set_references.r",
       "must have a value"},
      {"remove_reference_keys: 'No'", v1::INVALID_FIELD, "remove_reference_keys[0]",
       "must be [a-z][a-z0-9_]{0,62}"},
      {"remove_reference_keys: ''", v1::INVALID_FIELD, "remove_reference_keys[0]",
       "must have a key"},
      {"update_mask { paths: 'labels.a' } set_labels { key: 'a' value: '1' }",
       v1::INVALID_FIELD_MASK, "labels.a", "stands beside set_labels.a, which covers the same"},
      {"update_mask { paths: 'hold' paths: 'labels.`a`' } remove_label_keys: 'a'",
       v1::INVALID_FIELD_MASK, "labels.`a`", "stands beside remove_label_keys[0]"},
      {"update_mask { paths: 'context' } "
       "set_context { fields { key: 'a' value { bool_value: true } } }",
       v1::INVALID_FIELD_MASK, "context", "stands beside set_context.a"},
      {"update_mask { paths: 'references' } remove_reference_keys: 'a'", v1::INVALID_FIELD_MASK,
       "references", "stands beside remove_reference_keys[0]"},
  };
  for (const Refused& refused : kRefused) {
    const absl::Status status = Validate(Parse(refused.request));
    EXPECT_EQ(ReasonOf(status), refused.reason) << refused.request << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(refused.sentence)) << refused.request;
    const auto& metadata = ErrorInfoOf(status).metadata();
    const char* const key = refused.reason == v1::INVALID_FIELD ? "field" : "path";
    ASSERT_TRUE(metadata.contains(key)) << refused.request << status;
    EXPECT_EQ(metadata.at(key), refused.name) << refused.request;
  }
  EXPECT_TRUE(Validate(Parse("update_mask { paths: 'labels.b' paths: 'context' } "
                             "set_labels { key: 'a' value: '1' } remove_label_keys: 'c'"))
                  .ok());
}

TEST(PlainFields, AndPathsAre256AtMost) {
  v1::UpdateSessionRequest request = Parse("update_mask { paths: 'hold' }");
  for (int i = 0; i < 255; ++i)
    (*request.mutable_set_context()->mutable_fields())[absl::StrCat("k", i)].set_bool_value(true);
  EXPECT_TRUE(Validate(request).ok()) << Validate(request);
  EXPECT_EQ(Handled(request).update_mask().paths_size(), 256);
  request.add_remove_reference_keys("one_more");
  const absl::Status status = Validate(request);
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is one of 257 keys and mask paths"));
  request.mutable_update_mask()->clear_paths();
  EXPECT_TRUE(Validate(request).ok());
}

}  // namespace
}  // namespace sessiond::rpc
