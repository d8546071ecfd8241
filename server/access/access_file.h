// The access file, a TOML file, becomes a policy. docs/security.md describes it, and
// deploy/access.example.toml is one with comments.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/access/policy.h"
#include "server/access/roles.h"

namespace sessiond::access {

// INVALID_ARGUMENT: one sentence for the first thing that is wrong: `PATH:LINE: …`. REQUIRES:
// `usages` outlives the policy.
absl::StatusOr<std::shared_ptr<const Policy>> ParseAccessFile(absl::string_view text,
                                                              const std::string& path,
                                                              const MethodTable& methods,
                                                              UsageBook& usages);
// The same; also when it cannot be read, or when everybody may write it.
absl::StatusOr<std::shared_ptr<const Policy>> ReadAccessFile(const std::string& path,
                                                             const MethodTable& methods,
                                                             UsageBook& usages);

}  // namespace sessiond::access
