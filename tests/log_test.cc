// What reaches the log: lines that parse, and that nobody can forge.
#include "server/ops/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/ops/log_writer.h"

namespace sessiond {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

// What a caller might send to end a line, to start one of his own, or to turn it around.
const std::string kHostile[] = {
    "a\nb",
    "a\r\n{\"level\":\"error\"}",
    "\x1b[2J\x1b[31m",
    std::string("a\0b", 3),
    "\x7f",
    "\xc2\x85",          // U+0085, next line.
    "\xe2\x80\xa8",      // U+2028, line separator.
    "\xe2\x80\xae",      // U+202E, right-to-left override.
    "\xe2\x81\xa6",      // U+2066, left-to-right isolate.
    "\xf3\xa0\x81\x81",  // U+E0041, a tag, which nobody sees.
    "\xff\xfe",
    "\xc0\xaf",      // An overlong slash.
    "\xed\xa0\x80",  // A surrogate.
    "\xe2\x82",      // Cut in the middle.
    "\"}\\",
};

class LogTest : public testing::Test {
 protected:
  // Each test logs to a string of its own; spdlog's own defaults are put back behind it.
  void SetUp() override {
    before_ = spdlog::default_logger();
    SetUpLoggingForTest({.level = "info", .format = "json"}, &lines_);
  }
  void TearDown() override {
    spdlog::set_default_logger(before_);
    gpr_set_log_function(nullptr);
    google::protobuf::SetLogHandler(nullptr);
  }

  void UseText() { SetUpLoggingForTest({.level = "info", .format = "text"}, &lines_); }

  std::vector<std::string> Lines() const {
    std::vector<std::string> lines = absl::StrSplit(lines_, '\n');
    EXPECT_EQ(lines.back(), "");
    lines.pop_back();
    return lines;
  }

  json OnlyLine() const {
    EXPECT_THAT(Lines(), SizeIs(1));
    return json::parse(lines_);
  }

  std::string lines_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(LogTest, AnEventIsOneObjectWithItsFields) {
  Log(LogLevel::kInfo, "rpc", "finished call",
      {{"grpc.method", "GetSession"}, {"duration_ms", 1.5}, {"commands", 3}, {"replay", true}});
  const json line = OnlyLine();
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["logger"], "rpc");
  EXPECT_EQ(line["msg"], "finished call");
  EXPECT_EQ(line["grpc.method"], "GetSession");
  EXPECT_EQ(line["duration_ms"], 1.5);
  EXPECT_EQ(line["commands"], 3);
  EXPECT_EQ(line["replay"], true);
  EXPECT_THAT(std::string(line["time"]), testing::MatchesRegex("....-..-..T..:..:..\\.......Z"));
}

TEST_F(LogTest, TextOnATerminalIsOneLineToo) {
  UseText();
  Log(LogLevel::kWarn, "db", "lost it", {{"host", "db1"}, {"error", "no route"}, {"empty", ""}});
  EXPECT_THAT(lines_,
              EndsWith(" WARN  db       lost it  host=db1 error=\"no route\" empty=\"\"\n"));
}

TEST_F(LogTest, HostileTextNeverMakesALineOfItsOwn) {
  for (const std::string& hostile : kHostile) {
    lines_.clear();
    Log(LogLevel::kInfo, hostile, hostile, {{"value", hostile}});
    spdlog::info("{}", hostile);
    for (const std::string& line : Lines()) EXPECT_TRUE(json::accept(line)) << line;
    EXPECT_THAT(Lines(), SizeIs(2));

    lines_.clear();
    UseText();
    Log(LogLevel::kInfo, "rpc", hostile, {{"value", hostile}});
    EXPECT_THAT(Lines(), SizeIs(1));
    SetUpLoggingForTest({.format = "json"}, &lines_);
  }
}

TEST_F(LogTest, NothingThatDeceivesTheEyeIsWritten) {
  for (const bool text : {false, true}) {
    if (text) UseText();
    lines_.clear();
    for (const std::string& hostile : kHostile) {
      Log(LogLevel::kInfo, "rpc", FreeText(hostile), {{"value", hostile}});
    }
    for (const char byte : lines_) {
      EXPECT_TRUE(byte == '\n' || static_cast<unsigned char>(byte) >= 0x20) << int{byte};
    }
    for (const char* hidden : {"\x7f", "\xc2\x85", "\xe2\x80\xae", "\xe2\x81\xa6", "\xff"}) {
      EXPECT_THAT(lines_, Not(HasSubstr(hidden)));
    }
  }
}

TEST_F(LogTest, ValidTextOfAllLanguagesIsKept) {
  Log(LogLevel::kInfo, "rpc", "Ünïcödé 漢字 😀", {{"back", "a\\b\"c"}});
  EXPECT_EQ(OnlyLine()["msg"], "Ünïcödé 漢字 😀");
  EXPECT_EQ(OnlyLine()["back"], "a\\b\"c");
}

TEST_F(LogTest, ValuesAreCutBetweenCharacters) {
  std::string value(255, 'x');
  Log(LogLevel::kInfo, "rpc", "cut", {{"value", value + "ä" + value}});
  EXPECT_EQ(OnlyLine()["value"], value + "…");
  EXPECT_EQ(FreeText(std::string(201, 'y')), std::string(200, 'y') + "…");
  EXPECT_EQ(FreeText(std::string(200, 'y')), std::string(200, 'y'));
}

TEST_F(LogTest, TheAuditIsWrittenWhateverTheLevelIs) {
  SetUpLoggingForTest({.level = "error", .format = "json"}, &lines_);
  Log(LogLevel::kInfo, "rpc", "not this");
  Log(LogLevel::kInfo, "audit", "this");
  EXPECT_EQ(OnlyLine()["msg"], "this");
  EXPECT_FALSE(LogEnabled(LogLevel::kWarn, "rpc"));
  EXPECT_TRUE(LogEnabled(LogLevel::kInfo, "audit"));
}

TEST_F(LogTest, ErrorsThatRepeatAreCountedInsteadOfWritten) {
  for (int i = 0; i < 100; ++i) Log(LogLevel::kError, "db", "the database is gone");
  EXPECT_THAT(Lines(), SizeIs(10));
  for (int i = 0; i < 100; ++i) Log(LogLevel::kError, "db", absl::StrCat("another ", i));
  EXPECT_THAT(Lines(), SizeIs(110));
}

TEST_F(LogTest, LinesOfTheLibrariesComeThroughTheSameLog) {
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);  // As gRPC does when it starts.
  gpr_log("chttp2.cc", 7, GPR_LOG_SEVERITY_ERROR, "peer said %s", "x\ny");
  const json line = OnlyLine();
  EXPECT_EQ(line["logger"], "grpc");
  EXPECT_EQ(line["msg"], "peer said x\ny");
  EXPECT_EQ(line["file"], "chttp2.cc");

  lines_.clear();
  GOOGLE_LOG(ERROR) << "broken";
  EXPECT_EQ(OnlyLine()["logger"], "protobuf");
}

// A pipe with nobody at its other end who reads, unless told to.
class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(pipe2(ends_, O_CLOEXEC), 0);
    // The smallest there is.
    ASSERT_EQ(fcntl(ends_[1], F_SETPIPE_SZ, 4096), 4096);
    writer_ = std::make_unique<LogWriter>(LogWriter::Options{
        .descriptor = ends_[1], .waiting_bytes_max = 10'000, .dropped_line = [](int64_t lines) {
          return absl::StrCat("dropped ", lines, "\n");
        }});
  }
  void TearDown() override {
    writer_ = nullptr;
    for (const int end : ends_) close(end);
  }

  static std::string Line(int number) { return absl::StrCat(number, std::string(990, 'x'), "\n"); }
  // The next line that comes.
  std::string Read() {
    std::string line;
    for (char c = 0; c != '\n' && read(ends_[0], &c, 1) == 1;) line += c;
    return line;
  }

  int ends_[2];
  std::unique_ptr<LogWriter> writer_;
};

TEST_F(LogWriterTest, WhoLogsDoesNotWaitForWhoReadsAndIsToldWhatWasDropped) {
  constexpr int kLines = 1000;
  for (int i = 0; i < kLines; ++i) writer_->Add(Line(i));  // Would hang here, were it to wait.
  EXPECT_GT(writer_->dropped(), kLines / 2);
  EXPECT_GT(writer_->waiting(), 0);
  EXPECT_FALSE(writer_->AwaitWritten(absl::Milliseconds(20)));

  // Every line comes whole and in its place, or is counted there among those that were dropped.
  for (int next = 0; next < kLines;) {
    const std::string line = Read();
    if (absl::StartsWith(line, "dropped ")) {
      next += std::stoi(line.substr(8));
    } else {
      EXPECT_EQ(line, Line(next++));
    }
  }
  // And all is as it was before.
  writer_->Add(Line(kLines));
  EXPECT_EQ(Read(), Line(kLines));
}

TEST_F(LogWriterTest, ItEndsThoughNobodyReads) {
  for (int i = 0; i < 100; ++i) writer_->Add(Line(i));
  writer_ = nullptr;  // Would hang here.
}

TEST_F(LogWriterTest, WhatCannotBeWrittenIsCountedAsDropped) {
  close(std::exchange(ends_[0], -1));
  const auto before = signal(SIGPIPE, SIG_IGN);
  writer_->Add(Line(1));
  EXPECT_TRUE(writer_->AwaitWritten(absl::Seconds(10)));
  EXPECT_GE(writer_->dropped(), 1);
  signal(SIGPIPE, before);
}

TEST_F(LogWriterTest, APersonIsNotWaitedForLongEither) {
  const std::string much(100'000, 'x');
  TellWithin(ends_[1], much, absl::Milliseconds(20));  // Would hang here.
  TellWithin(ends_[1], "", absl::Milliseconds(20));
}

}  // namespace
}  // namespace sessiond
