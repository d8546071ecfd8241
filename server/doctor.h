// `sessiond doctor`: everything that serve needs, looked at one by one.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "db/postgres/postgres_supervisor.h"
#include "server/config/config.h"

namespace sessiond {

struct Finding {
  std::string what;
  // When not OK, its message says how to fix it.
  absl::Status status;
  // serve starts all the same.
  bool is_advice = false;
};

// `supervisor`: null with --db-url.
std::vector<Finding> Examine(const Config& config, db::PostgresSupervisor* supervisor,
                             const std::stop_token& stop);

}  // namespace sessiond
