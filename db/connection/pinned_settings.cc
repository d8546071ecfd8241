#include "db/connection/pinned_settings.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace sessiond::db {
namespace {

// clang-format off
constexpr PinnedSetting kPinned[] = {
    // How text is encoded, in both directions.
    {"client_encoding",              "UTF8"},
    {"standard_conforming_strings",  "on"},
    {"bytea_output",                 "hex"},
    {"datestyle",                    "ISO, MDY"},
    {"intervalstyle",                "postgres"},
    {"timezone",                     "UTC"},
    {"extra_float_digits",           "1"},
    {"array_nulls",                  "on"},
    {"transform_null_equals",        "off"},
    // A COMMIT that could not wait for its standby raises a warning.
    {"client_min_messages",          "warning"},
    // Rows hidden by row level security are an error, not a session that never existed.
    {"row_security",                 "off"},
    // A GIN index returns all matches, not a sample.
    {"gin_fuzzy_search_limit",       "0"},
    // Transactions. Read-only connections ask for more.
    {"default_transaction_isolation",  "read committed"},
    {"default_transaction_deferrable", "off"},
    // Our own deadlines end what takes too long; idle connections stay open.
    {"statement_timeout",                    "0"},
    {"lock_timeout",                         "0"},
    {"idle_in_transaction_session_timeout",  "0"},
    {"idle_session_timeout",                 "0"},
    {"exit_on_error",                        "off"},
    // Plans: everything is allowed; connections that need it switch some off.
    {"plan_cache_mode",          "auto"},
    {"enable_bitmapscan",        "on"},
    {"enable_gathermerge",       "on"},
    {"enable_hashagg",           "on"},
    {"enable_hashjoin",          "on"},
    {"enable_incremental_sort",  "on"},
    {"enable_indexonlyscan",     "on"},
    {"enable_indexscan",         "on"},
    {"enable_material",          "on"},
    {"enable_memoize",           "on"},
    {"enable_mergejoin",         "on"},
    {"enable_nestloop",          "on"},
    {"enable_seqscan",           "on"},
    {"enable_sort",              "on"},
    {"enable_tidscan",           "on"},
    {"from_collapse_limit",      "8"},
    {"join_collapse_limit",      "8"},
    {"geqo",                     "off"},
    {"jit",                      "off"},
};
// clang-format on

// PostgreSQL 17 and later also have a timeout for whole transactions.
constexpr absl::string_view kSinceLater =
    "CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL "
    "THEN pg_catalog.set_config('transaction_timeout', '0', false) END";

// What is acknowledged is on the disk; stricter settings are respected.
constexpr absl::string_view kSynchronousCommit =
    "pg_catalog.set_config('synchronous_commit', CASE "
    "pg_catalog.current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' "
    "ELSE 'on' END, false)";

// The schema where our tables are or, if there are none, would be created: no tables or functions
// of the same names come before ours, not even temporary ones. If the path names no schema, it is
// `public`.
constexpr absl::string_view kSearchPath =
    "pg_catalog.set_config('search_path', pg_catalog.concat(coalesce((SELECT "
    "pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
    "ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.oid OPERATOR(pg_catalog.=) "
    "pg_catalog.to_regclass('database_identity')), "
    "pg_catalog.quote_ident(pg_catalog.current_schema()), 'public'), ', pg_temp'), false)";

}  // namespace

absl::Span<const PinnedSetting> PinnedSettings() { return kPinned; }

absl::Span<const std::string> PinSettingsSql() {
  static const auto& statements = *new std::array<std::string, 2>([] {
    // Names are qualified: the path that was set before does not matter.
    std::string text = "SELECT ";
    for (const auto& [name, value] : kPinned)
      absl::StrAppend(&text, "pg_catalog.set_config('", name, "', '", value, "', false), ");
    absl::StrAppend(&text, kSinceLater, ", ", kSynchronousCommit);
    return std::array<std::string, 2>{text, absl::StrCat("SELECT ", kSearchPath)};
  }());
  return statements;
}

}  // namespace sessiond::db
