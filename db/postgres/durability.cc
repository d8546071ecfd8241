#include "db/postgres/durability.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace sessiond::db {

absl::Status CheckDurability(Connection& connection, SteadyTime deadline) {
  // synchronous_commit is pinned by every connection (pinned_settings.h), whatever was set.
  auto unsafe = connection.Query(R"(
      SELECT name, setting, source = 'command line'
      FROM pg_settings
      WHERE (name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off')
         OR (name = 'data_sync_retry' AND setting = 'on')
      ORDER BY name)",
                                 deadline);
  if (!unsafe.ok()) return unsafe.status();
  if (unsafe->rows() == 0) return absl::OkStatus();
  std::vector<std::string> reasons, typed, remedies;
  bool reload = false, restart = false;
  for (int row = 0; row < unsafe->rows(); ++row) {
    const absl::string_view name = unsafe->Text(row, 0), setting = unsafe->Text(row, 1);
    reasons.push_back(absl::StrCat(name, " = ", setting));
    // No other way of setting it has effect against the command line.
    if (unsafe->Bool(row, 2)) {
      typed.push_back(absl::StrCat(name, "=", setting));
      continue;
    }
    // It cannot be set while PostgreSQL runs.
    (name == "data_sync_retry" ? restart : reload) = true;
    remedies.push_back(
        absl::StrCat("ALTER SYSTEM SET ", name, " = ", setting == "off" ? "on" : "off"));
  }
  if (reload) remedies.push_back("SELECT pg_reload_conf()");
  if (restart) remedies.push_back("restart PostgreSQL");
  if (!typed.empty()) {
    remedies.push_back(absl::StrCat("start PostgreSQL without ", absl::StrJoin(typed, " and "),
                                    " (--pg-settings, if it is the daemon's own)"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the database could lose acknowledged changes (", absl::StrJoin(reasons, ", "),
                   "): ", absl::StrJoin(remedies, "; ")));
}

}  // namespace sessiond::db
