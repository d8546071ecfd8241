// How the halves of the benchmark are spoken to: a command a line on stdin, a JSON object a line on
// stdout, and a sentence on stderr when something is wrong.
#pragma once

#include <cstdio>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace sessiond::bench {

// Reads the words behind a command. Throws std::runtime_error, which says how to use it.
template <typename... Words>
void Expect(std::istringstream& line, const char* use, Words&... words) {
  if (!(line >> ... >> words)) throw std::runtime_error(absl::StrCat("use: ", use));
}

// Prints one line, at once.
template <typename... Arguments>
void Answer(const absl::FormatSpec<Arguments...>& format, const Arguments&... arguments) {
  absl::PrintF(format, arguments...);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

// Has `obey` take each line of stdin until there are no more, or it throws std::runtime_error.
// Answers the exit code.
template <typename Obey>
int ObeyStdin(Obey obey) try {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    obey(words);
  }
  return 0;
} catch (const std::runtime_error& error) {
  absl::FPrintF(stderr, "sessiond_bench: %s\n", error.what());
  return 1;
}

}  // namespace sessiond::bench
