#include "db/connection/lane_settings.h"

#include "absl/strings/str_cat.h"
#include "db/sql/statements.h"

namespace sessiond::db {

ConnectionOptions LaneConnection(const LaneSettings& settings, absl::string_view application_name) {
  const auto millis = [](absl::Duration duration) {
    return absl::StrCat(absl::ToInt64Milliseconds(duration));
  };
  return {
      .dsn = settings.dsn,
      .application_name = std::string(application_name),
      .settings =
          {
              {"plan_cache_mode", "force_generic_plan"},
              {"enable_seqscan", "off"},
              {"enable_hashjoin", "off"},
              {"enable_mergejoin", "off"},
              {"enable_bitmapscan", "off"},
              {"lock_timeout", millis(settings.lock_timeout)},
              {"statement_timeout", millis(settings.statement_timeout)},
              {"idle_in_transaction_session_timeout", "5000"},
          },
      .statements = kAllStatements,
  };
}

}  // namespace sessiond::db
