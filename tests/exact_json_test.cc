// JSON that a Struct holds as it is, and JSON that it does not.
#include "client/legacy/exact_json.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/parse.h"
#include "sessiond/v1/admin_service.pb.h"
#include "state_machine/limits.h"
#include "tests/test_seed.h"

namespace sessiond {
namespace {

using google::protobuf::Value;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What `[number]` becomes.
Value Read(const std::string& number) {
  const auto json = ParseExactJson(absl::StrCat("[", number, "]"));
  EXPECT_TRUE(json.ok()) << number << " " << json.status();
  if (!json.ok()) return {};
  EXPECT_EQ(json->changes.empty(), json->value.list_value().values(0).has_number_value()) << number;
  return json->value.list_value().values(0);
}

TEST(ExactJson, NumbersThatDoublesAreStayNumbers) {
  const std::pair<const char*, double> cases[] = {
      {"0", 0},
      {"0.000", 0},
      {"-1", -1},
      {"1.10", 1.1},
      {"0.1", 0.1},
      {"1.2345678901234567e-300", 1.2345678901234567e-300},  // Its nearest text ends with a 6.
      {"0.10000000000000001", 0.1},                          // As it was printed with 17 digits.
      {"9007199254740992", 9007199254740992},
      {"1152921504606846976", 1152921504606846976},  // 2^60
      {"1e23", 1e23},
      {"99999999999999991611392", 1e23},
      {"1E+2", 100},
      {"1.7976931348623157e308", 1.7976931348623157e308},
      {"5e-324", 5e-324},
      {"0.0001e4", 1},
      {"123.456e-2", 1.23456},
  };
  for (const auto& [text, number] : cases) EXPECT_EQ(Read(text).number_value(), number) << text;
}

TEST(ExactJson, NumbersThatNoDoubleIsBecomeTextsWithAllTheirDigits) {
  for (const char* text : {"9007199254740993",
                           "-9007199254740993",
                           "9223372036854775807",
                           "123456789012345678901",
                           "110385937595800270",
                           "100000000000000000000000",
                           "1e-400",
                           "-1e-400",
                           "-0",
                           "-0.0",
                           "0.1000000000000000055",
                           "3.14159265358979323846",
                           "1e-99999999999999999999",
                           "2.4703282292062327e-324",
                           "1.2345678901e-320",
                           "9007199254740993.0",
                           "9007199254740993e0",
                           "12345678901234567.00",
                           "900719925474099.35",
                           "0.30000000000000002",
                           "0.01e-9223372036854775808",
                           "1e-9223372036854775808"}) {
    EXPECT_EQ(Read(text).string_value(), text);
  }
  for (const char* text : {"1e400", "1e9223372036854775807", "10.5e9223372036854775807"}) {
    EXPECT_THAT(std::string(ParseExactJson(text).status().message()), HasSubstr("beyond all"));
  }
  EXPECT_FALSE(ParseExactJson("1" + std::string(400, '0')).ok());
}

TEST(ExactJson, EveryDoubleIsTheNumberItIsPrintedAs) {
  std::mt19937_64 random(TestSeed());
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double number;
    static_assert(sizeof(bits) == sizeof(number));
    std::memcpy(&number, &bits, sizeof(number));
    if (!std::isfinite(number)) continue;
    const std::string text = absl::StrFormat("%.17g", number);
    EXPECT_EQ(Read(text).number_value(), number) << text;
    // Whole numbers are taken exactly when the double is the same number.
    const int64_t whole = static_cast<int64_t>(bits >> (random() % 20 + 1));
    const bool same = static_cast<int64_t>(static_cast<double>(whole)) == whole;
    EXPECT_EQ(Read(absl::StrCat(whole)).has_number_value(), same) << whole;
  }
}

TEST(ExactJson, WhatChangesIsNamedByItsPath) {
  const auto json =
      ParseExactJson(R"({"a": {"b": [1, {"c": -0}]}, "d": 1, "e": 2, "d": {"x": 3}})");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->depth, 4);
  EXPECT_THAT(json->changes, ElementsAre(HasSubstr("a.b[1].c: -0 cannot"),
                                         "d: stands twice, and the last one counts"));
  const auto& fields = json->value.struct_value().fields();
  EXPECT_EQ(fields.at("d").struct_value().fields().at("x").number_value(), 3);
  const auto& type = *google::protobuf::Struct::descriptor();
  EXPECT_EQ(CheckExactJson(R"({"n": 9007199254740993})", type).message(),
            "n: 9007199254740993 cannot be kept as a number, only as a text");
  EXPECT_TRUE(CheckExactJson(R"({"n": 9007199254740992, "t": "ä\u0000😀"})", type).ok());
}

TEST(ExactJson, AFieldStandsThereByOneOfItsNames) {
  const auto check = [](const std::string& json) {
    return std::string(CheckExactJson(json, *v1::ImportSessionsRequest::descriptor()).message());
  };
  EXPECT_EQ(
      check(R"({"session": {"ownerId": "a", "owner_id": "b"}})"),
      "session.ownerId: stands twice, by both of its names, and only one of them would count");
  EXPECT_THAT(check(R"({"errors": [{}, {"relatedFileId": "a", "related_file_id": "b"}]})"),
              HasSubstr("errors[1].relatedFileId: stands twice"));
  // Keys are no fields.
  EXPECT_EQ(check(R"({"session": {"ownerId": "a", "labels": {"owner_id": "b", "ownerId": "c"},
                      "context": {"owner_id": "d", "ownerId": {"a_b": 1, "aB": 2}}},
                      "events": [{"a_b": 1, "aB": 2}]})"),
            "");
}

TEST(ExactJson, WhatIsNoJsonIsSaid) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "is no JSON"},
      {"{", "is no JSON"},
      {"{'a': 1}", "is no JSON"},
      {"{} {}", "is no JSON"},
      {std::string("{}\0{}", 5), "NUL"},
      {"\"\xE9\"", "is not UTF-8"},
      {"{\"\xC0\x80\": 1}", "is not UTF-8"},
      {"\"\\ud800\"", "is no JSON"},
      {"NaN", "is no JSON"},
      {std::string(21, '[') + std::string(21, ']'), "nested deeper than 20 levels, at [0][0]"},
  };
  for (const auto& [text, why] : cases) {
    EXPECT_THAT(std::string(ParseExactJson(text).status().message()), HasSubstr(why)) << text;
  }
  EXPECT_EQ(ParseExactJson(std::string(20, '[') + std::string(20, ']'))->depth, 20);
}

// Objects of so many levels.
std::string Nested(int levels) {
  std::string json = "1";
  for (int i = 0; i < levels; ++i) json = absl::StrCat("{\"a\": ", json, "}");
  return json;
}

TEST(ExactJson, WhatIsTakenIsNoDeeperThanADaemonReads) {
  EXPECT_EQ(kStructLevelsMax, kStructDepthMax);
  EXPECT_TRUE(ParseExactJson(Nested(16), kStructLevelsMax).ok());
  EXPECT_EQ(ParseExactJson(Nested(17), kStructLevelsMax).status().message(),
            "is nested deeper than 16 levels, at a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a");
  // A request of as many levels as are taken is one that the daemon can read, be it to refuse it.
  const auto request = ParseExactJson(
      absl::StrCat(R"({"session": {"context": )", Nested(kRequestLevelsMax - 2), "}}"));
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->depth, kRequestLevelsMax);
  v1::ImportSessionsRequest sent;
  *sent.mutable_session()->mutable_context() = request->value.struct_value()
                                                   .fields()
                                                   .at("session")
                                                   .struct_value()
                                                   .fields()
                                                   .at("context")
                                                   .struct_value();
  const std::string bytes = sent.SerializeAsString();
  grpc::Slice slice(bytes);
  grpc::ByteBuffer buffer(&slice, 1);
  v1::ImportSessionsRequest read;
  EXPECT_TRUE(rpc::ParseRequest(buffer, &read).ok());
}

TEST(ExactJson, DigitsAreNumbersWhereADoubleIsTheSame) {
  Value list;
  const char* digits[] = {"45", "0.50", "9007199254740993", "-0", "NaN", "1e400", "12345"};
  for (const char* text : digits) list.mutable_list_value()->add_values()->set_string_value(text);
  list.mutable_list_value()->add_values()->set_null_value({});
  std::vector<std::string> changes;
  ReadDigits(list, changes);
  const auto& values = list.list_value();
  EXPECT_EQ(values.values(0).number_value(), 45);
  EXPECT_EQ(values.values(1).number_value(), 0.5);
  EXPECT_EQ(values.values(6).number_value(), 12345);
  for (const int i : {2, 3, 4, 5}) EXPECT_EQ(values.values(i).string_value(), digits[i]);
  EXPECT_TRUE(values.values(7).has_null_value());
  EXPECT_THAT(changes,
              ElementsAre("[2]: 9007199254740993 cannot be kept as a number, only as a text",
                          HasSubstr("[3]: -0 cannot"), HasSubstr("[4]: NaN cannot"),
                          HasSubstr("[5]: 1e400 cannot")));
}

}  // namespace
}  // namespace sessiond
