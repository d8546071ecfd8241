// Ids: their two formats, against regular expressions, and the partition of an id, against values
// that databases were made with.
#include "state_machine/session_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"
#include "tests/commands.h"

namespace sessiond {
namespace {

using testing::HasSubstr;

constexpr char kUuid[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";
constexpr char kExec[] = "exec_20251230_020944_4ad060d9";

// The two formats of ids, word for word.
bool IsUuid(const std::string& id) {
  static const auto& pattern =
      *new std::regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
  return std::regex_match(id, pattern) && id != "00000000-0000-0000-0000-000000000000";
}
bool IsExec(const std::string& id) {
  static const auto& pattern = *new std::regex("exec_[0-9]{8}_[0-9]{6}_[a-f0-9]{8}");
  return std::regex_match(id, pattern);
}

TEST(SessionId, HasOneOfTwoFormatsWholeAndInAscii) {
  for (const char* id :
       {kUuid, "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000001"}) {
    EXPECT_TRUE(HasFormat(id, v1::Workflow::UUID)) << id;
    EXPECT_FALSE(HasFormat(id, v1::Workflow::EXEC)) << id;
  }
  // The impossible date is well-formed: the format is the pattern.
  for (const char* id : {kExec, "exec_20259999_999999_deadbeef"}) {
    EXPECT_TRUE(HasFormat(id, v1::Workflow::EXEC)) << id;
    EXPECT_FALSE(HasFormat(id, v1::Workflow::UUID)) << id;
  }
  const std::string uuid = kUuid, exec = kExec;
  const std::vector<std::string> malformed = {
      "",
      " ",
      "exec_",
      "nonsense",
      "00000000-0000-0000-0000-000000000000",
      "0192F3C4-9F2E-7ABC-8DEF-0123456789AB",
      "{" + uuid + "}",
      "urn:uuid:" + uuid,
      "0192f3c49f2e7abc8def0123456789ab",
      uuid + "0",
      uuid.substr(1),
      uuid + "\n",
      " " + uuid,
      uuid + std::string(1, '\0'),
      "0192f3c4-9f2e-7abc-8def-0123456789ag",
      "exec_2025123_020944_4ad060d9",
      "exec_20251230_020944_4AD060D9",
      "EXEC_20251230_020944_4ad060d9",
      "exec-20251230-020944-4ad060d9",
      exec + "\n",
      exec + "0",
      "\xD9\xA1" + exec.substr(2),
      exec.substr(0, 5) + "\xD9\xA1" + exec.substr(7),  // An Arabic digit of two bytes.
      "' OR 1=1 --",
  };
  for (const std::string& id : malformed) EXPECT_FALSE(IsSessionId(id)) << id;
}

TEST(SessionId, FormatsAreThoseOfTheRegularExpressions) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  const std::string alphabet = "0123456789abcdefgABCDEF-_xec \n\xC3";
  int fitting = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string id = i % 2 == 0 ? kUuid : kExec;
    const int edits = static_cast<int>(random() % 3);
    for (int edit = 0; edit < edits; ++edit) {
      const std::size_t at = random() % (id.size() + 1);
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 4) {
        case 0:
          id.insert(at, 1, c);
          break;
        case 1:
          if (at < id.size()) id.erase(at, 1);
          break;
        default:
          if (at < id.size()) id[at] = c;
      }
    }
    EXPECT_EQ(HasFormat(id, v1::Workflow::UUID), IsUuid(id)) << id << ", seed " << seed;
    EXPECT_EQ(HasFormat(id, v1::Workflow::EXEC), IsExec(id)) << id << ", seed " << seed;
    EXPECT_EQ(CheckSessionId(id).ok(), IsUuid(id) || IsExec(id)) << id;
    fitting += IsSessionId(id) ? 1 : 0;
  }
  EXPECT_GT(fitting, 5'000);
  EXPECT_LT(fitting, 45'000);
}

TEST(SessionId, RefusalSaysWhatWasSentAndWhatIsExpected) {
  const absl::Status status = CheckSessionId(kUuid, v1::Workflow::EXEC);
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FORMAT);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("session_id"), kUuid);
  EXPECT_THAT(ErrorInfoOf(status).metadata().at("expected"), HasSubstr("exec_"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(kUuid));
  EXPECT_TRUE(CheckSessionId(kExec, v1::Workflow::EXEC).ok());

  // Whatever was sent is cut, and shown in ASCII.
  const absl::Status wild = CheckSessionId(std::string(100'000, '\n') + "\xFF");
  EXPECT_LT(wild.message().size(), 1024u);
  EXPECT_EQ(std::string(wild.message()).find('\n'), std::string::npos);
  EXPECT_THAT(std::string(wild.message()), HasSubstr("\\n"));
}

TEST(SessionId, MadeFromTheSameIsTheSameAndHasTheFormat) {
  const absl::Time now = absl::FromUnixMillis(0x0192f3c49f2e);
  EXPECT_EQ(MakeSessionId(v1::Workflow::UUID, now, 0xFFFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF),
            "0192f3c4-9f2e-7fff-bfff-ffffffffffff");
  EXPECT_EQ(MakeSessionId(v1::Workflow::UUID, now, 0, 0), "0192f3c4-9f2e-7000-8000-000000000000");
  EXPECT_EQ(MakeSessionId(v1::Workflow::EXEC, absl::FromUnixSeconds(1767060584), 0, 0x4ad060d9),
            "exec_20251230_020944_4ad060d9");
  std::mt19937_64 random(7);
  for (int i = 0; i < 10'000; ++i) {
    const absl::Time when = now + absl::Microseconds(static_cast<int64_t>(random() % (1ULL << 50)));
    EXPECT_TRUE(IsUuid(MakeSessionId(v1::Workflow::UUID, when, random(), random())));
    EXPECT_TRUE(IsExec(MakeSessionId(v1::Workflow::EXEC, when, random(), random())));
  }
}

TEST(SessionId, UuidsOfLaterMomentsSortBehindEarlierOnes) {
  std::mt19937_64 random(7);
  std::string last;
  for (int i = 0; i < 1'000; ++i) {
    const std::string id = MakeSessionId(
        v1::Workflow::UUID, absl::FromUnixMillis(1'767'225'600'000 + i * 7), random(), random());
    EXPECT_LT(last, id);
    last = id;
  }
}

// Databases keep these numbers: whoever changes them loses every session there is.
TEST(Partition, IsWhatItAlwaysWas) {
  EXPECT_EQ(PartitionOf(kUuid, 64), 13);
  EXPECT_EQ(PartitionOf(kUuid, 1024), 525);
  EXPECT_EQ(PartitionOf(kExec, 64), 1);
  EXPECT_EQ(PartitionOf(kExec, 7), 2);
  EXPECT_EQ(PartitionOf("", 64), 1);
  EXPECT_EQ(PartitionOf(std::string("\xFF\xFE\x80", 3), 64), 11);
  EXPECT_EQ(PartitionOf(kUuid, 1), 0);
}

TEST(Partition, AnIdCanBeDrawnInEveryOne) {
  std::mt19937_64 random(7);
  const absl::Time now = absl::FromUnixSeconds(1'767'225'600);
  for (const auto format : {v1::Workflow::UUID, v1::Workflow::EXEC}) {
    std::set<std::string> drawn;
    for (const int count : {1, 64, 1024}) {
      for (int partition = 0; partition < count; ++partition) {
        const std::string id = MakeSessionIdIn(static_cast<int16_t>(partition), count, format, now,
                                               [&] { return random(); });
        EXPECT_EQ(PartitionOf(id, count), partition);
        EXPECT_TRUE(HasFormat(id, format)) << id;
        EXPECT_TRUE(drawn.insert(id).second) << id;
      }
    }
  }
}

TEST(Partition, OfDrawnIdsSpreadsEvenly) {
  std::mt19937_64 random(7);
  for (const auto format : {v1::Workflow::UUID, v1::Workflow::EXEC}) {
    std::map<int, int> count;
    for (int i = 0; i < 64'000; ++i) {
      // All of one second, as a burst of creations would be.
      ++count[PartitionOf(
          MakeSessionId(format, absl::FromUnixSeconds(1'767'225'600), random(), random()), 64)];
    }
    ASSERT_EQ(count.size(), 64u);
    for (const auto& [partition, ids] : count) {
      EXPECT_GT(ids, 800) << partition;
      EXPECT_LT(ids, 1200) << partition;
    }
  }
}

}  // namespace
}  // namespace sessiond
