// JSON ↔ messages: what is taken, and how each thing that is not is told, with its place.
#include "server/http/json_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/util/message_differencer.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/refusal.h"
#include "tests/refusals.h"

namespace sessiond::http {
namespace {

using testing::HasSubstr;

template <class Request>
absl::StatusOr<std::string> Read(absl::string_view json) {
  return FromJson(json, *Request::descriptor());
}

// The sentence of the refusal; empty: there is none.
template <class Request>
std::string Refused(absl::string_view json) {
  const absl::StatusOr<std::string> read = Read<Request>(json);
  if (read.ok()) return "";
  EXPECT_EQ(ReasonOf(read.status()), v1::INVALID_FIELD) << json;
  return std::string(read.status().message());
}

std::string Nested(absl::string_view open, absl::string_view middle, absl::string_view close,
                   int levels) {
  std::string text;
  for (int i = 0; i < levels; ++i) absl::StrAppend(&text, open);
  absl::StrAppend(&text, middle);
  for (int i = 0; i < levels; ++i) absl::StrAppend(&text, close);
  return text;
}

TEST(JsonCodec, ReadsBothNamesOfAField) {
  for (const char* json : {R"({"sessionId": "a"})", R"({"session_id": "a"})",
                           " \r\n\t{ \"sessionId\"\t: \"\\u0061\" } \n"}) {
    v1::GetSessionRequest request;
    const auto read = Read<v1::GetSessionRequest>(json);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_TRUE(request.ParseFromString(*read));
    EXPECT_EQ(request.session_id(), "a");
  }
}

TEST(JsonCodec, EmptyTextIsTheEmptyMessage) {
  EXPECT_EQ(Read<v1::GetSessionRequest>("").value(), "");
  EXPECT_EQ(Read<v1::GetSessionRequest>("{}").value(), "");
  EXPECT_EQ(Read<v1::GetSessionRequest>(R"({"sessionId": null})").value(), "");
}

TEST(JsonCodec, RefusesWhatIsNoJsonWithItsPlace) {
  const struct {
    absl::string_view json;
    const char* place;
  } kCases[] = {
      {"{} {}", "line 1, column 4"},
      {"{}x", "line 1, column 3"},
      {"{\"sessionId\": \"a\",}", "line 1, column 19"},
      {"{\n  \"sessionId\": \"a\"\n  \"view\": 1}", "line 3, column 3"},
      {"{/* */}", "line 1, column 2"},
      {"{} // comment", "line 1, column 4"},
      {"{'sessionId': 'a'}", "line 1, column 2"},
      {"{sessionId: 1}", "line 1, column 2"},
      {"{\"sessionId\": \"a\"", "line 1, column 18"},
      {"  ", "line 1, column 3"},
      {"{\"sessionId\": NaN}", "line 1, column 15"},
      {"{\"sessionId\": Infinity}", "line 1, column 15"},
      {"{\"sessionId\": 01}", "line 1, column 16"},
      {"{\"sessionId\": +1}", "line 1, column 15"},
      {"{\"sessionId\": True}", "line 1, column 15"},
      {"{\"sessionId\": \"\\ud800\"}", "line 1, column"},
      {"{\"sessionId\": \"\\x\"}", "line 1, column"},
      {"{\"sessionId\": \"\x01\"}", "line 1, column 16"},
      {"{\"sessionId\": \"\xff\"}", "line 1, column"},
      {"{\"sessionId\": \"\xc0\x80\"}", "line 1, column"},
      {"{\"sessionId\": \"\xed\xa0\x80\"}", "line 1, column"},
      {"{\"\xff\": 1}", "line 1, column"},
      {"\xef\xbb\xbf\xef\xbb\xbf{}", "line 1, column 1"},
      {{"{}\0", 3}, "line 1, column 3"},
      {{"{}\0{\"a\":1}", 10}, "line 1, column 3"},
      {{"{\"sessionId\": \"\0\"}", 18}, "line 1, column 16"},
  };
  for (const auto& [json, place] : kCases) {
    EXPECT_THAT(Refused<v1::GetSessionRequest>(json), HasSubstr(place)) << json;
  }
}

TEST(JsonCodec, RefusesANameTwice) {
  const struct {
    const char* json;
    const char* name;
  } kCases[] = {
      {R"({"sessionId": "a", "sessionId": "b"})", "\"sessionId\" twice"},
      {R"({"sessionId": "a", "session_id": "b"})", "\"session_id\" twice"},
      {R"({"sessionId": "a", "session\u0049d": "b"})", "\"sessionId\" twice"},
      {R"({"session": {"ownerId": "a", "owner_id": "b"}})", "\"owner_id\" twice"},
      {R"({"session": {"labels": {"a": "1", "a": "2"}}})", "\"a\" twice"},
      {R"({"session": {"context": {"a": [{"b": 1}, {"b": 1, "b": 2}]}}})", "\"b\" twice"},
  };
  for (const auto& [json, name] : kCases)
    EXPECT_THAT(Refused<v1::CreateSessionRequest>(json), HasSubstr(name)) << json;
}

// Of messages in a list, the second like the first.
TEST(JsonCodec, KnowsTheFieldsOfEveryMessageInAList) {
  for (const char* json :
       {R"({"errors": [{"errorCode": "a", "error_code": "b"}]})",
        R"({"errors": [{"technicalDetails": {}}, {"errorCode": "a", "error_code": "b"}]})"}) {
    EXPECT_THAT(Refused<v1::ImportSessionsRequest>(json), HasSubstr("\"error_code\" twice"));
  }
}

// What is a caller's own has the names that it has.
TEST(JsonCodec, NamesOfStructsAndMapsAreNoFields) {
  for (const char* json : {R"({"session": {"context": {"owner_id": 1, "ownerId": 2}}})",
                           R"({"session": {"context": {"a": {"a_b": 1, "aB": 2}}}})",
                           R"({"session": {"labels": {"owner_id": "1", "ownerId": "2"}}})"}) {
    EXPECT_EQ(Refused<v1::CreateSessionRequest>(json), "");
  }
}

// That the refusal names the field.
void ExpectField(const absl::Status& status, absl::string_view json, absl::string_view field) {
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD) << json;
  EXPECT_EQ(FieldOf(status), field) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(field)));
}

TEST(JsonCodec, NamesTheFieldOfAWrongType) {
  const struct {
    const char* json;
    const char* field;
  } kCases[] = {
      {R"({"sessionId": 5})", "session_id"},
      {R"({"sessionId": ["a"]})", "session_id"},
      {R"({"sessionId": []})", "session_id"},
      {R"({"sessionId": {}})", "session_id"},
      {R"({"session_id": {"a": 1}})", "session_id"},
      {R"({"sessionId": [{}]})", "session_id"},
      {R"({"view": {}})", "view"},
      {R"({"includeDeleted": []})", "include_deleted"},
      {R"({"view": "NOPE"})", "view"},
      {R"({"view": true})", "view"},
      {R"({"nothing": 1})", "nothing"},
      {R"({"view": 99999999999999999999})", "view"},
  };
  for (const auto& [json, field] : kCases) {
    const absl::Status status = Read<v1::GetSessionRequest>(json).status();
    ExpectField(status, json, field);
  }
  for (const char* json : {"[]", "1", "\"a\"", "null", "true"})
    EXPECT_NE(Refused<v1::GetSessionRequest>(json), "") << json;
}

// What is where one value belongs, or the other way round, by its whole path.
TEST(JsonCodec, NamesTheFieldOfAWrongShapeWhereverItIs) {
  const struct {
    const char* json;
    const char* field;
  } kCreations[] = {
      {R"({"session": []})", "session"},
      {R"({"session": "a"})", "session"},
      {R"({"session": {"ownerId": {}}})", "session.owner_id"},
      {R"({"session": {"labels": []}})", "session.labels"},
      {R"({"session": {"labels": {"a": "1", "b": {}}}})", "session.labels.b"},
      {R"({"session": {"labels": {"a": ["1"]}}})", "session.labels.a"},
      {R"({"session": {"currentTask": {"taskId": {}}}})", "session.current_task.task_id"},
  };
  for (const auto& [json, field] : kCreations)
    ExpectField(Read<v1::CreateSessionRequest>(json).status(), json, field);
  const struct {
    const char* json;
    const char* field;
  } kImports[] = {
      {R"({"errors": [{"technicalDetails": {"a": [[{}]]}}, {"errorCode": {}}]})",
       "errors[1].error_code"},
      {R"({"errors": [{}, {"recoveryActions": ["a", {}]}]})", "errors[1].recovery_actions[1]"},
      {R"({"errors": [{}, []]})", "errors[1]"},
      {R"({"errors": [[{}]]})", "errors[0]"},
  };
  for (const auto& [json, field] : kImports)
    ExpectField(Read<v1::ImportSessionsRequest>(json).status(), json, field);
  const char* names = R"({"sessionIds": ["a", {}]})";
  ExpectField(Read<v1::LookupSessionsRequest>(names).status(), names, "session_ids[1]");
  // Of what has a form of its own in JSON, nothing is known here.
  for (const char* sound : {R"({"session": {"context": {"a": [[{"b": [1, [2]]}]]}}})",
                            R"({"session": {"createTime": "2026-01-01T00:00:00Z"}})"}) {
    EXPECT_EQ(Refused<v1::CreateSessionRequest>(sound), "");
  }
}

TEST(JsonCodec, ReadsNumbersExactlyOrNotAtAll) {
  const auto page_size = [](absl::string_view number) -> absl::StatusOr<int> {
    const auto read = Read<v1::ListSessionsRequest>(absl::StrCat("{\"pageSize\": ", number, "}"));
    if (!read.ok()) return read.status();
    v1::ListSessionsRequest request;
    EXPECT_TRUE(request.ParseFromString(*read));
    return request.page_size();
  };
  EXPECT_EQ(page_size("10").value(), 10);
  EXPECT_EQ(page_size("\"10\"").value(), 10);
  EXPECT_EQ(page_size("1e1").value(), 10);
  EXPECT_EQ(page_size("10.0").value(), 10);
  for (const char* bad : {"1.5", "2147483648", "9007199254740993", "1e10", "1e999", "\"\"",
                          "\"1 \"", "\"0x10\"", "\"NaN\""}) {
    EXPECT_FALSE(page_size(bad).ok()) << bad;
  }
}

// Those of a context are doubles.
TEST(JsonCodec, ACallersOwnNumbersAreKeptOrRefusedWithTheirPlace) {
  for (const char* number : {"0", "-0", "7", "-1.5", "0.1", "1e20", "1E-7", "9007199254740992",
                             "1.7976931348623157e308", "5e-324", "0.30000000000000004"}) {
    const std::string json = absl::StrCat(R"({"session": {"context": {"n": [)", number, "]}}}");
    EXPECT_EQ(Refused<v1::CreateSessionRequest>(json), "");
  }
  for (const char* number : {"9007199254740993", "-9007199254740993", "1e-400",
                             "0.1000000000000000000000000001", "12345678901234567890"}) {
    const struct {
      std::string context, field;
    } kPlaces[] = {
        {absl::StrCat(R"({"n": )", number, "}"), "session.context.n"},
        {absl::StrCat(R"({"a": {"b": [1, [2, )", number, "]]}}"), "session.context.a.b[1][1]"},
        {absl::StrCat(R"({"a": [{}, {"b": )", number, "}]}"), "session.context.a[1].b"},
    };
    for (const auto& [context, field] : kPlaces) {
      const std::string json = absl::StrCat(R"({"session": {"context": )", context, "}}");
      ExpectField(Read<v1::CreateSessionRequest>(json).status(), json, field);
    }
  }
}

TEST(JsonCodec, AByteOrderMarkMayComeFirst) {
  EXPECT_EQ(Refused<v1::GetSessionRequest>("\xEF\xBB\xBF{\"sessionId\": \"a\"}"), "");
  EXPECT_EQ(Refused<v1::GetSessionRequest>("\xEF\xBB\xBF"), "");
  EXPECT_NE(Refused<v1::GetSessionRequest>("{}\xEF\xBB\xBF"), "");
}

// The contract has no field of 64 bits yet; Protobuf's own messages have.
TEST(JsonCodec, NumbersOf64BitsAreTextAndComeAsNumbersToo) {
  using google::protobuf::UninterpretedOption;
  const auto read = [](const char* field, absl::string_view value) {
    UninterpretedOption option;
    const auto bytes = Read<UninterpretedOption>(absl::StrCat("{\"", field, "\": ", value, "}"));
    EXPECT_TRUE(bytes.ok() && option.ParseFromString(*bytes)) << value << " " << bytes.status();
    return option;
  };
  const struct {
    const char* number;
    int64_t value;
  } kSigned[] = {
      {"0", 0},
      {"-1", -1},
      {"9007199254740993", 9007199254740993},  // No double.
      {"9223372036854775807", std::numeric_limits<int64_t>::max()},
      {"-9223372036854775808", std::numeric_limits<int64_t>::min()},
  };
  for (const auto& [number, value] : kSigned) {
    EXPECT_EQ(read("negativeIntValue", number).negative_int_value(), value) << number;
    const std::string text = absl::StrCat("\"", number, "\"");
    EXPECT_EQ(read("negativeIntValue", text).negative_int_value(), value) << text;
  }
  EXPECT_EQ(read("negativeIntValue", "-1e3").negative_int_value(), -1000);
  EXPECT_EQ(read("negativeIntValue", "10.0").negative_int_value(), 10);
  EXPECT_EQ(read("positiveIntValue", "-0").positive_int_value(), 0);
  for (const char* largest : {"18446744073709551615", "\"18446744073709551615\""}) {
    EXPECT_EQ(read("positiveIntValue", largest).positive_int_value(),
              std::numeric_limits<uint64_t>::max());
  }

  for (const char* number : {"9223372036854775808", "-9223372036854775809", "1e30", "1.5",
                             "18446744073709551616", "9007199254740993.0", "NaN"}) {
    EXPECT_NE(
        Refused<UninterpretedOption>(absl::StrCat(R"({"negativeIntValue": ")", number, "\"}")), "");
    EXPECT_NE(Refused<UninterpretedOption>(absl::StrCat(R"({"negativeIntValue": )", number, "}")),
              "");
  }
  for (const char* bad : {"-1", "\"-1\"", "18446744073709551616", "\"18446744073709551616\"",
                          "\"\"", "\" 1\"", "\"1 \"", "\"0x10\"", "1e19", "true", "[1]", "{}"}) {
    const absl::Status status =
        Read<UninterpretedOption>(absl::StrCat(R"({"positiveIntValue": )", bad, "}")).status();
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD) << bad;
    EXPECT_EQ(FieldOf(status), "positive_int_value") << status;
  }

  UninterpretedOption option;
  option.set_positive_int_value(std::numeric_limits<uint64_t>::max());
  option.set_negative_int_value(std::numeric_limits<int64_t>::min());
  EXPECT_EQ(ToJson(option.SerializeAsString(), *UninterpretedOption::descriptor()).value(),
            R"({"positiveIntValue":"18446744073709551615",)"
            R"("negativeIntValue":"-9223372036854775808"})");
}

TEST(JsonCodec, DepthIsLimited) {
  const auto context = [](const std::string& value) {
    return absl::StrCat(R"({"session": {"context": {"a": )", value, "}}}");
  };
  // 16 levels are sound, and some more are left to what checks fields.
  EXPECT_EQ(Refused<v1::CreateSessionRequest>(context(Nested("[", "1", "]", 18))), "");
  EXPECT_EQ(Refused<v1::CreateSessionRequest>(context(Nested("{\"a\":", "1", "}", 18))), "");
  for (const int levels : {30, 64, 1'000'000}) {
    EXPECT_THAT(Refused<v1::CreateSessionRequest>(context(Nested("[", "1", "]", levels))),
                HasSubstr("nested more than 28 levels deep (line 1, column"));
    EXPECT_THAT(Refused<v1::CreateSessionRequest>(context(Nested("{\"a\":", "1", "}", levels))),
                HasSubstr("nested more than 28 levels deep"));
  }
}

// Values cost much more than they have bytes.
TEST(JsonCodec, ValuesAreCounted) {
  const auto ids = [](int count) {
    return absl::StrCat(R"({"sessionIds": [)",
                        absl::StrJoin(std::vector<std::string>(count, "\"\""), ","), "]}");
  };
  EXPECT_TRUE(Read<v1::LookupSessionsRequest>(ids(199'000)).ok());
  EXPECT_EQ(ReasonOf(Read<v1::LookupSessionsRequest>(ids(200'000)).status()),
            v1::PAYLOAD_TOO_LARGE);
  for (const char* value : {"{}", "[]", "1", "null"}) {
    const std::string many = absl::StrJoin(std::vector<std::string>(200'000, value), ",");
    const absl::Status status =
        Read<v1::CreateSessionRequest>(
            absl::StrCat(R"({"session": {"context": {"a": [)", many, "]}}}"))
            .status();
    EXPECT_EQ(ReasonOf(status), v1::PAYLOAD_TOO_LARGE) << value;
  }
}

// RapidJSON reads it as text, and Protobuf does not.
TEST(JsonCodec, RefusesHalfOfASurrogatePairWithoutAPath) {
  for (const char* json : {R"({"sessionId": "\ude00"})", R"({"session_id": "a\ude00: b"})"}) {
    const auto refused = FromJson(json, *v1::GetSessionRequest::descriptor());
    EXPECT_EQ(ReasonOf(refused.status()), v1::INVALID_FIELD);
    EXPECT_THAT(refused.status().message(),
                HasSubstr("it is not well-formed (Invalid unicode code point)"));
    const auto bad = DetailOf<google::rpc::BadRequest>(refused.status());
    ASSERT_EQ(bad.field_violations_size(), 1);
    EXPECT_EQ(bad.field_violations(0).field(), "");
    EXPECT_THAT(bad.field_violations(0).description(), HasSubstr("not well-formed"));
  }
}

// Of what the caller sent, a sentence has little, and nothing that a terminal obeys.
TEST(JsonCodec, QuotesLittle) {
  const std::string name(1 << 20, 'n');
  for (const std::string& json :
       {absl::StrCat("{\"", name, "\": 1}"), absl::StrCat("{\"", name, "\": 1, \"", name, "\": 2}"),
        absl::StrCat("{\"view\": \"", name, "\"}"), absl::StrCat("{\"sessionId\": ", name, "}")}) {
    const std::string sentence = Refused<v1::GetSessionRequest>(json);
    EXPECT_NE(sentence, "");
    EXPECT_LE(sentence.size(), 512);
  }
  const std::string escaped = Refused<v1::GetSessionRequest>(R"({"\u001b[2J\n\u009b": 1})");
  EXPECT_NE(escaped, "");
  EXPECT_EQ(escaped.find('\x1b'), std::string::npos);
  EXPECT_EQ(escaped.find('\n'), std::string::npos);
  EXPECT_EQ(escaped.find("\u009b"), std::string::npos);
}

TEST(JsonCodec, WhatHasNoFormInJsonIsRefusedAndNotChanged) {
  v1::Session session;
  (*session.mutable_context()->mutable_fields())["a"].set_number_value(
      std::numeric_limits<double>::quiet_NaN());
  // As Protobuf writes it: a number that is none becomes a text. Requests with one are refused.
  EXPECT_EQ(ToJson("\xff\xff", *session.GetDescriptor()).status().code(),
            absl::StatusCode::kInternal);
  session.Clear();
  session.mutable_create_time()->set_seconds(999'999'999'999'999);
  EXPECT_EQ(ReasonOf(ToJson(session.SerializeAsString(), *session.GetDescriptor()).status()),
            v1::CONSTRAINT_VIOLATION);
}

TEST(JsonCodec, ComesBackAsItWas) {
  v1::Session session;
  session.set_session_id("a\"\\/\u2028ä\U0001F600\x7f\n");
  auto& fields = *session.mutable_context()->mutable_fields();
  fields["n"].set_number_value(0.1);
  fields["big"].set_number_value(9007199254740992.0);
  fields["-"].set_number_value(-1e-300);
  fields["null"].set_null_value(google::protobuf::NULL_VALUE);
  fields["list"].mutable_list_value()->add_values()->mutable_struct_value();
  session.mutable_create_time()->set_seconds(1);
  session.mutable_create_time()->set_nanos(1000);
  const auto json = ToJson(session.SerializeAsString(), *session.GetDescriptor());
  ASSERT_TRUE(json.ok()) << json.status();
  const auto bytes = FromJson(*json, *session.GetDescriptor());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  v1::Session back;
  ASSERT_TRUE(back.ParseFromString(*bytes));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(session, back)) << *json;
}

TEST(JsonCodec, BuffersOfSeveralSlicesAreWhole) {
  const grpc::Slice parts[] = {grpc::Slice("ab"), grpc::Slice(), grpc::Slice("c")};
  EXPECT_EQ(BytesOf(grpc::ByteBuffer(parts, 3)), "abc");
  EXPECT_EQ(BytesOf(BufferOf("")), "");
  const std::string with_nul("a\0b", 3);
  EXPECT_EQ(BytesOf(BufferOf(with_nul)), with_nul);
}

}  // namespace
}  // namespace sessiond::http
