#include "db/query/page_sql.h"

#include <cassert>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

template <class Keys>
std::string OrderBy(const Keys& keys, bool descending) {
  return absl::StrJoin(keys, ", ", [&](std::string* out, absl::string_view key) {
    absl::StrAppend(out, key, descending ? " DESC" : "");
  });
}

// The keys by names of their own: `keys` may be ambiguous where other tables are about.
struct NamedKeys {
  explicit NamedKeys(absl::Span<const absl::string_view> keys) {
    for (const absl::string_view key : keys) {
      names.push_back(absl::StrCat("key_", names.size()));
      absl::StrAppend(&columns, ", ", key, " AS ", names.back());
    }
  }

  std::vector<std::string> names;
  std::string columns;
};

std::string RowsSql(const PageParts& parts, absl::string_view where, absl::string_view limit) {
  return absl::StrCat("SELECT ", parts.alias, ".* FROM ", parts.from, " WHERE ", where,
                      "\n        ORDER BY ", OrderBy(parts.keys, parts.descending), " LIMIT ",
                      limit);
}

// The same rows, not in order. The edge is the last of as many as are wanted, by the index alone.
//
// The first rows are those before the edge, and the edge: an OR of two ranges of the index, which
// only a bitmap scan answers. It stays one as long as its sides have nothing in common that the
// planner could take out of it, hence the edge's own `lead`; and OFFSET 0 keeps the conditions that
// lead to other indexes from it. The rest comes behind them, as Append runs its parts in turn, and
// not at all if they are enough.
std::string FarApartRowsSql(const PageParts& parts, absl::string_view limit) {
  const auto& [column, value, behind] = *parts.far_apart;
  const NamedKeys keys(parts.keys);
  const std::string row = absl::StrCat("(", absl::StrJoin(parts.keys, ", "), ")");
  const std::string edge = absl::StrCat("(SELECT ", absl::StrJoin(keys.names, ", "), " FROM edge)");
  const std::string by_index =
      absl::StrCat(column, " = ", value, behind.empty() ? "" : " AND ", behind);
  const absl::string_view is_before = parts.descending ? " > " : " < ";
  const absl::string_view is_behind = parts.descending ? " < " : " > ";
  return absl::StrCat(
      "WITH edge AS (SELECT * FROM (\n",  //
      "          SELECT ", column, " AS lead", keys.columns, " FROM ", parts.from, " WHERE ",
      by_index, "\n",  //
      "          ORDER BY ", OrderBy(parts.keys, parts.descending), " LIMIT ", limit,
      ") first_rows\n",                                                              //
      "          ORDER BY ", OrderBy(keys.names, !parts.descending), " LIMIT 1)\n",  //
      "        SELECT * FROM (SELECT ", parts.alias, ".* FROM ", parts.from, "\n",   //
      "          WHERE ", by_index, " AND ", row, is_before, edge, "\n",             //
      "            OR ", column, " = (SELECT lead FROM edge) AND ", row, " >= ", edge, " AND ", row,
      " <= ", edge, "\n",                                                 //
      "          OFFSET 0) ", parts.alias, " WHERE ", parts.where, "\n",  //
      "        UNION ALL (",
      RowsSql(parts, absl::StrCat(by_index, " AND ", row, is_behind, edge, " AND ", parts.where),
              limit),
      ")\n        LIMIT ", limit);
}

}  // namespace

// ROWS BETWEEN … 1 PRECEDING: what lies before a row, so that the row which crosses the limit still
// comes, and with it the word that there are more. The planner sees by the keys' own names that the
// windows' rows are in order already.
Sql PageSql(const PageParts& parts, int page_size, Parameters parameters) {
  assert(page_size >= 1);
  const NamedKeys keys(parts.keys);
  const std::string limit = parameters.Integer(int64_t{page_size} + 1);
  const std::string bytes_max = parameters.Integer(static_cast<int64_t>(parts.bytes_max));
  std::string text = absl::StrCat(
      "SELECT * FROM (\n",  //
      "  SELECT lead(true) OVER page IS NOT NULL AS has_next, ", parts.columns, ",\n",
      "         COALESCE(sum(", parts.bytes,
      ") OVER (page ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before",
      keys.columns, "\n",  //
      "  FROM (",
      parts.far_apart.has_value() ? FarApartRowsSql(parts, limit)
                                  : RowsSql(parts, parts.where, limit),
      ") ", parts.alias, " ", parts.join, "\n", "  WINDOW page AS (ORDER BY ",
      OrderBy(parts.keys, parts.descending), ")\n", ") page WHERE bytes_before < ", bytes_max,
      " ORDER BY ", OrderBy(keys.names, parts.descending));
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
