// A warning with a reason to be given many times a second: logged once a minute, with how often.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"
#include "server/ops/log.h"

namespace sessiond {

// For one thread.
class RateLimitedWarning {
 public:
  // Whether it was time to. `refused`: how many there were since the last time.
  bool WarnOfRefusal(absl::string_view logger, absl::string_view what, const std::string& why) {
    ++suppressed_;
    const SteadyTime now = SteadyTime::Now();
    if (now < due_) return false;
    Log(LogLevel::kWarn, logger, what, {{"why", why}, {"refused", suppressed_}});
    due_ = now + absl::Minutes(1);
    suppressed_ = 0;
    return true;
  }

 private:
  SteadyTime due_;
  int64_t suppressed_ = 0;
};

}  // namespace sessiond
