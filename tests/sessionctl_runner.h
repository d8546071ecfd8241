// Runs the real sessionctl, as a shell would, without the contexts and variables of whoever runs
// the tests.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"

namespace sessiond {

inline const bool kNothingOfTheirs = [] {
  for (const char* name : {"SESSIOND_SERVER", "SESSIOND_CONTEXT", "SESSIOND_TOKEN_FILE",
                           "SESSIOND_CA_FILE", "SESSIOND_CERT_FILE", "SESSIOND_KEY_FILE"}) {
    unsetenv(name);
  }
  return setenv("XDG_CONFIG_HOME", "/nonexistent", 1) == 0;
}();

inline std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

// A file of this test's, with this in it.
inline std::string FileWith(const std::string& text, const std::string& name = "input") {
  const std::string path =
      absl::StrCat(testing::TempDir(), "sessionctl_test.", getpid(), ".", name);
  std::ofstream(path) << text;
  return path;
}

// `arguments` as a person types them into a shell; `environment` likewise, before the command.
inline Outcome Sessionctl(const std::string& arguments, const std::string& environment = "",
                          const std::string& input = "/dev/null") {
  const std::string path = absl::StrCat(testing::TempDir(), "sessionctl_test.", getpid());
  const std::string line = absl::StrCat(environment, " " SESSIONCTL " ", arguments, " >", path,
                                        ".out 2>", path, ".err <", input);
  const int status = std::system(line.c_str());
  return {WEXITSTATUS(status), ReadFile(path + ".out"), ReadFile(path + ".err")};
}

// Any JSON at all; fails the test if it is none.
inline google::protobuf::Value ParseJson(const std::string& json) {
  google::protobuf::Value value;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &value);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << json;
  return value;
}

}  // namespace sessiond
