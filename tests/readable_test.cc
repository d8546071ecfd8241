// Somebody else's text, made to be read on one line.
#include "state_machine/readable.h"

#include <gtest/gtest.h>

#include <string>

namespace sessiond {
namespace {

TEST(Readable, LeavesTextAsItIs) {
  for (const char* text : {"", "a b", "ä€😀", "\u00a0", "\\n", "\"'`"}) {
    EXPECT_EQ(Readable(text), text);
  }
}

TEST(Readable, EscapesWhatATerminalObeysAndWhatIsNoText) {
  struct Row {
    std::string text;
    std::string readable;
  };
  const Row rows[] = {
      {"a\nb\t", "a\\x0ab\\x09"},
      {std::string("\0", 1), "\\x00"},
      {"\x1b[2J", "\\x1b[2J"},
      {"\x7f", "\\x7f"},
      {"\u0080 \u009b2J \u009f", "\\xc2\\x80 \\xc2\\x9b2J \\xc2\\x9f"},
      {"\xff", "\\xff"},
      {"a\xc3", "a\\xc3"},
      {"\xc3(", "\\xc3("},
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
      {"\xf0\x9f\x98", "\\xf0\\x9f\\x98"},
      {"\xc0\x80", "\\xc0\\x80"},
  };
  for (const Row& row : rows) EXPECT_EQ(Readable(row.text), row.readable);
}

TEST(Readable, CutsBetweenCharacters) {
  EXPECT_EQ(Readable("abc", 3), "abc");
  EXPECT_EQ(Readable("abcd", 3), "abc…");
  EXPECT_EQ(Readable("ab€", 5), "ab€");
  EXPECT_EQ(Readable("ab€", 4), "ab…");
  EXPECT_EQ(Readable("\xff\xff", 1), "\\xff…");
}

}  // namespace
}  // namespace sessiond
