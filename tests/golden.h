// Golden files: what the code prints, kept in the tree so that a change of it is seen in review.
// With SESSIOND_UPDATE_GOLDEN=1 in the environment the tests write them anew.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace sessiond {

// Files are named from the tree's root.
inline std::filesystem::path GoldenPath(const std::string& name) {
  return std::filesystem::path(__FILE__).parent_path().parent_path() / name;
}

inline std::string GoldenText(const std::string& name) {
  std::stringstream text;
  text << std::ifstream(GoldenPath(name), std::ios::binary).rdbuf();
  return text.str();
}

// Whether the file holds exactly `text`.
inline testing::AssertionResult MatchesGolden(const std::string& name, const std::string& text) {
  if (std::getenv("SESSIOND_UPDATE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(GoldenPath(name).parent_path());
    std::ofstream(GoldenPath(name), std::ios::binary) << text;
  }
  if (GoldenText(name) == text) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << name
         << " is out of date: run the tests once with SESSIOND_UPDATE_GOLDEN=1. Now it is:\n"
         << text;
}

// Whether the first table of the page, which is in Markdown, is `table`; the rest is written by
// people.
inline testing::AssertionResult MatchesGoldenTable(const std::string& name,
                                                   const std::string& table) {
  const std::string page = GoldenText(name);
  const std::size_t begin = page.find("\n|") + 1;
  std::size_t end = begin;
  while (page[end] == '|') end = page.find('\n', end) + 1;
  return MatchesGolden(name, page.substr(0, begin) + table + page.substr(end));
}

}  // namespace sessiond
