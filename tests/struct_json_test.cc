// Struct ↔ JSON: what goes into the database comes back as it was.
#include "state_machine/struct_json.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/commands.h"

namespace sessiond {
namespace {

using google::protobuf::util::MessageDifferencer;

Struct Object(const std::string& name, const Value& value) {
  Struct fields;
  (*fields.mutable_fields())[name] = value;
  return fields;
}

TEST(StructJson, IsCompactWithSortedKeys) {
  Struct fields;
  for (const char* name : {"b", "a", "c", "Z", ""}) {
    (*fields.mutable_fields())[name] = NumberValue(1);
  }
  EXPECT_EQ(ToJson(fields), R"({"":1,"Z":1,"a":1,"b":1,"c":1})");
  EXPECT_EQ(ToJson(Struct()), "{}");
}

TEST(StructJson, WritesWholeNumbersWithoutAFraction) {
  const auto number = [](double value) { return ToJson(Object("n", NumberValue(value))); };
  EXPECT_EQ(number(0), R"({"n":0})");
  EXPECT_EQ(number(-7), R"({"n":-7})");
  EXPECT_EQ(number(2.5), R"({"n":2.5})");
  EXPECT_EQ(number(9007199254740992.0), R"({"n":9007199254740992})");
  EXPECT_EQ(number(0.1), R"({"n":0.1})");
}

TEST(StructJson, NumbersComeBackTheSame) {
  std::mt19937_64 random(TestSeed());
  std::vector<double> numbers = {0,
                                 1,
                                 -1,
                                 0.1,
                                 1e21,
                                 1e-7,
                                 9007199254740991.0,
                                 9007199254740993.0,
                                 -9007199254740994.0,
                                 std::numeric_limits<double>::max(),
                                 std::numeric_limits<double>::lowest(),
                                 std::numeric_limits<double>::min(),
                                 std::numeric_limits<double>::denorm_min()};
  while (numbers.size() < 5000) {
    const uint64_t bits = random();
    double number = 0;
    static_assert(sizeof number == sizeof bits);
    std::memcpy(&number, &bits, sizeof number);
    if (std::isfinite(number)) numbers.push_back(number);
  }
  for (const double number : numbers) {
    const Struct back = StructFromJson(ToJson(Object("n", NumberValue(number))));
    EXPECT_EQ(back.fields().at("n").number_value(), number);
    // PostgreSQL writes all digits, and no exponent.
    const std::string digits = absl::StrFormat(R"({"n":%.1074f,"z":1})", number);
    const Struct stored = StructFromJson(digits);
    EXPECT_EQ(stored.fields().at("n").number_value(), number);
    EXPECT_EQ(stored.fields().at("z").number_value(), 1) << digits;
  }
}

Value RandomValue(std::mt19937_64& random, int depth) {
  static const char* const kTexts[] = {
      "", "a", "\"", "\\", "\n\t\r\b\f", "ä€😀", "\x01\x1F\x7F", "</script>", "\u2028"};
  Value value;
  switch (random() % (depth == 0 ? 4 : 6)) {
    case 0:
      return NullValue();
    case 1:
      return BoolValue(random() % 2 == 0);
    case 2:
      return NumberValue(static_cast<double>(static_cast<int64_t>(random())) / 8);
    case 3:
      return StringValue(kTexts[random() % std::size(kTexts)]);
    case 4:
      value.mutable_list_value();
      for (uint64_t i = random() % 4; i > 0; --i)
        *value.mutable_list_value()->add_values() = RandomValue(random, depth - 1);
      return value;
    default:
      value.mutable_struct_value();
      for (uint64_t i = random() % 4; i > 0; --i) {
        (*value.mutable_struct_value()->mutable_fields())[kTexts[random() % std::size(kTexts)]] =
            RandomValue(random, depth - 1);
      }
      return value;
  }
}

TEST(StructJson, AnythingComesBackTheSame) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 5000; ++i) {
    const Struct fields = Object("k", RandomValue(random, 5));
    const std::string json = ToJson(fields);
    const Struct back = StructFromJson(json);
    EXPECT_TRUE(MessageDifferencer::Equals(back, fields)) << json << ", seed " << seed;
    EXPECT_EQ(ToJson(back), json);
  }
}

TEST(StructJson, MapsComeBackTheSame) {
  google::protobuf::Map<std::string, std::string> labels, labels_back;
  google::protobuf::Map<std::string, int32_t> counters, counters_back;
  EXPECT_EQ(ToJson(labels), "{}");
  MapFromJson("{}", &labels_back);
  EXPECT_TRUE(labels_back.empty());
  labels["a.b"] = "\"\n";
  labels["ä"] = "";
  counters["n"] = std::numeric_limits<int32_t>::max();
  counters["m"] = 0;
  MapFromJson(ToJson(labels), &labels_back);
  MapFromJson(ToJson(counters), &counters_back);
  EXPECT_EQ(labels_back.size(), 2u);
  EXPECT_EQ(labels_back.at("a.b"), "\"\n");
  EXPECT_EQ(counters_back.at("n"), std::numeric_limits<int32_t>::max());
  EXPECT_EQ(counters_back.at("m"), 0);
  // As the database writes it.
  MapFromJson(R"({"x": "1", "y": "2"})", &labels_back);
  EXPECT_EQ(labels_back.at("y"), "2");
}

TEST(StructJson, LengthIsMeasuredExactly) {
  const std::size_t around = std::string(R"({"k":""})").size();
  EXPECT_FALSE(JsonBytesExceed(Object("k", StringValue(std::string(1000 - around, 'x'))), 1000));
  EXPECT_TRUE(JsonBytesExceed(Object("k", StringValue(std::string(1001 - around, 'x'))), 1000));
  // One byte on the wire, six as JSON.
  EXPECT_FALSE(JsonBytesExceed(Object("k", StringValue(std::string(160, '\x01'))), 1000));
  EXPECT_TRUE(JsonBytesExceed(Object("k", StringValue(std::string(166, '\x01'))), 1000));
  // Many bytes on the wire, few as JSON.
  Value list;
  for (int i = 0; i < 400; ++i) list.mutable_list_value()->add_values()->set_number_value(1);
  EXPECT_FALSE(JsonBytesExceed(Object("k", list), 1000));
}

}  // namespace
}  // namespace sessiond
