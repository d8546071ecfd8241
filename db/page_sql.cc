#include "db/page_sql.h"

#include <cassert>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/state_machine/session_id.h"

namespace sessiond::db {
namespace {

std::string OrderBy(absl::Span<const absl::string_view> keys, bool descending) {
  return absl::StrJoin(keys, ", ", [&](std::string* out, absl::string_view key) {
    absl::StrAppend(out, key, descending ? " DESC" : "");
  });
}

}  // namespace

// ROWS BETWEEN … 1 PRECEDING: what lies before a row, so that the row which crosses the limit still
// comes, and with it the word that there are more. The keys go out by names of their own: those of
// `columns` may be ambiguous, and the planner sees by them that the rows are in order already.
Sql PageSql(const PageParts& parts, int page_size, Parameters parameters) {
  assert(page_size >= 1);
  const std::string order = OrderBy(parts.keys, parts.descending);
  std::vector<std::string> key_names;
  std::string key_columns;
  for (const absl::string_view key : parts.keys) {
    key_names.push_back(absl::StrCat("key_", key_names.size()));
    absl::StrAppend(&key_columns, ",\n         ", key, " AS ", key_names.back());
  }
  const std::vector<absl::string_view> names(key_names.begin(), key_names.end());
  const std::string limit = parameters.Integer(int64_t{page_size} + 1);
  const std::string bytes_max = parameters.Integer(static_cast<int64_t>(parts.bytes_max));
  std::string text = absl::StrCat(
      "SELECT * FROM (\n",  //
      "  SELECT lead(true) OVER page IS NOT NULL AS has_next, ", parts.columns, ",\n",
      "         COALESCE(sum(", parts.bytes,
      ") OVER (page ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before",
      key_columns, "\n",  //
      "  FROM (SELECT ", parts.alias, ".* FROM ", parts.from, " WHERE ", parts.where, "\n",
      "        ORDER BY ", order, " LIMIT ", limit, ") ", parts.alias, " ", parts.join, "\n",
      "  WINDOW page AS (ORDER BY ", order, ")\n", ") page WHERE bytes_before < ", bytes_max,
      " ORDER BY ", OrderBy(names, parts.descending));
  return {std::move(text), parameters.Take()};
}

std::string BehindSql(absl::Span<const absl::string_view> keys, bool descending,
                      absl::Span<const std::string> placeholders) {
  assert(keys.size() == placeholders.size());
  return absl::StrCat("(", absl::StrJoin(keys, ", "), descending ? ") < (" : ") > (",
                      absl::StrJoin(placeholders, ", "), ")");
}

std::string OfSessionSql(absl::string_view alias, absl::string_view session_id, int partition_count,
                         Parameters* parameters) {
  return absl::StrCat(
      alias, ".partition = ", parameters->SmallInteger(PartitionOf(session_id, partition_count)),
      " AND ", alias, ".session_id = ", parameters->Text(session_id));
}

std::string SessionOfSql(absl::string_view alias) {
  return absl::StrCat(
      "CROSS JOIN LATERAL (SELECT s.namespace, s.state FROM sessions s WHERE s.partition = ", alias,
      ".partition AND s.id = ", alias, ".session_id LIMIT 1) s");
}

std::string NamespaceSql(absl::string_view namespace_name, Parameters* parameters) {
  if (namespace_name == "-") return "true";
  return absl::StrCat("s.namespace = ", parameters->Text(namespace_name));
}

std::vector<std::string> KeyValues(const TimeKey& key) {
  return {absl::StrCat(absl::ToUnixMicros(key.time)), key.id};
}

std::optional<TimeKey> ParseTimeKey(absl::Span<const std::string> values) {
  int64_t micros = 0;
  if (values.size() != 2 || !absl::SimpleAtoi(values[0], &micros)) return std::nullopt;
  return TimeKey{.time = absl::FromUnixMicros(micros), .id = values[1]};
}

}  // namespace sessiond::db
