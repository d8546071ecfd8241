// What goes to stderr when a command fails: what is wrong, who can fix it, and what to type next.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/sessionctl/run.h"

namespace sessiond::ctl {

// Exit codes other than 0; a refusal's is kExitRefused + its gRPC code.
constexpr int kExitNoOutput = 1;  // Also import: for its report.
constexpr int kExitUsage = 2;
constexpr int kExitNotTaken = 3;  // workflow validate, import: something is wrong with the data.
constexpr int kExitNotServing = 4;
constexpr int kExitRefused = 64;

// Reports the outcome of `run` on stderr; as google.rpc.Status in JSON if the output is JSON.
// Returns the exit code.
int Explain(const Run& run, const absl::Status& status);

// The same for a command that could not be parsed. `hints` are lines to print below the sentence.
int ExplainUsage(absl::string_view sentence, const std::vector<std::string>& hints);

// The candidate that `word` is probably a typo of, if one differs by only a few letters.
std::optional<std::string> DidYouMean(absl::string_view word,
                                      const std::vector<std::string>& candidates);

}  // namespace sessiond::ctl
