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

// Whether the file, named from the tree's root, holds exactly `text`.
inline testing::AssertionResult MatchesGolden(const std::string& name, const std::string& text) {
  const auto path = std::filesystem::path(__FILE__).parent_path().parent_path() / name;
  if (std::getenv("SESSIOND_UPDATE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  std::stringstream golden;
  golden << std::ifstream(path, std::ios::binary).rdbuf();
  if (golden.str() == text) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << name
         << " is out of date: run the tests once with SESSIOND_UPDATE_GOLDEN=1. Now it is:\n"
         << text;
}

}  // namespace sessiond
