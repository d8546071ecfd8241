// Workflows that are nothing but data: tests/workflows/*.textproto. What is tested with the
// built-in ones is tested with them too.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "proto/embedded.h"

namespace sessiond {

// Where those definitions are.
inline std::filesystem::path WorkflowsDir() {
  return std::filesystem::path(__FILE__).parent_path() / "workflows";
}

// The text of `NAME.textproto`; empty where there is none.
inline std::string WorkflowFile(const std::string& name) {
  std::stringstream text;
  text << std::ifstream(WorkflowsDir() / (name + ".textproto"), std::ios::binary).rdbuf();
  return text.str();
}

// The texts of all workflows, those of the daemon and those of the tests.
inline std::vector<std::string> AllWorkflowTexts() {
  std::vector<std::string> texts;
  for (const absl::string_view text : BuiltinWorkflows()) texts.emplace_back(text);
  texts.push_back(WorkflowFile("onboarding"));
  EXPECT_FALSE(texts.back().empty()) << WorkflowsDir();
  return texts;
}

}  // namespace sessiond
