#include "db/query/page_sql.h"

#include <cassert>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

// The keys by their columns, and by names of their own: column names may be ambiguous if other
// tables are joined.
struct KeyNames {
  explicit KeyNames(const std::vector<PageKey>& keys) {
    for (const PageKey& key : keys) {
      names.push_back(absl::StrCat("key_", names.size()));
      columns.push_back(key.column);
      absl::StrAppend(&selected, ", ", key.column, " AS ", names.back());
    }
  }

  std::vector<absl::string_view> columns;
  std::vector<std::string> names;
  std::string selected;
};

template <class Keys>
std::string OrderBy(const Keys& keys, bool descending) {
  return absl::StrJoin(keys, ", ", [&](std::string* out, absl::string_view key) {
    absl::StrAppend(out, key, descending ? " DESC" : "");
  });
}

// A key's value as a placeholder. Nothing if it is not a value of its type.
std::optional<std::string> KeySql(const PageKey& key, const std::string& value,
                                  TextParams* parameters) {
  if (key.type == "text") return parameters->Text(value);
  int64_t number = 0;
  if (!absl::SimpleAtoi(value, &number)) return std::nullopt;
  if (key.type == "timestamptz") return parameters->Time(absl::FromUnixMicros(number));
  return parameters->Add(value, key.type);
}

// The condition of rows after the one with these values. Rows compare column by column, as indexes
// do: one step into the index. INVALID_PAGE_TOKEN: a token of ours that carries no key of this
// list, made by a daemon of another version.
absl::StatusOr<std::string> BehindSql(const PageParts& parts, const KeyValues& after,
                                      TextParams* parameters) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < after.size() && i < parts.keys.size(); ++i) {
    if (auto value = KeySql(parts.keys[i], after[i], parameters); value.has_value())
      values.push_back(*std::move(value));
  }
  if (values.size() != parts.keys.size() || values.size() != after.size()) {
    return Refusal(v1::INVALID_PAGE_TOKEN,
                   "The page_token was not made for this query. Start again without one.");
  }
  return absl::StrCat("(", absl::StrJoin(KeyNames(parts.keys).columns, ", "),
                      parts.descending ? ") < (" : ") > (", absl::StrJoin(values, ", "), ")");
}

std::string RowsSql(const PageParts& parts, absl::string_view where, absl::string_view limit) {
  return absl::StrCat("SELECT ", parts.alias, ".* FROM ", parts.from, " WHERE ", where,
                      "\n        ORDER BY ",
                      OrderBy(KeyNames(parts.keys).columns, parts.descending), " LIMIT ", limit);
}

// The same rows, not in order. The edge is the last of the first `limit` rows, by the index alone.
//
// The first rows are those before the edge, and the edge: an OR of two ranges of the index, which
// only a bitmap scan answers. It stays one as long as its sides have nothing in common that the
// planner could factor out, hence the edge's own `lead`; and OFFSET 0 keeps conditions that lead to
// other indexes out of it. The rest comes after them, as Append runs its parts in turn, and is not
// read at all if they are enough.
std::string FarApartRowsSql(const PageParts& parts, absl::string_view behind,
                            absl::string_view limit) {
  const auto& [column, value] = *parts.far_apart;
  const KeyNames keys(parts.keys);
  const std::string row = absl::StrCat("(", absl::StrJoin(keys.columns, ", "), ")");
  const std::string edge = absl::StrCat("(SELECT ", absl::StrJoin(keys.names, ", "), " FROM edge)");
  const std::string by_index =
      absl::StrCat(column, " = ", value, behind.empty() ? "" : " AND ", behind);
  const absl::string_view is_before = parts.descending ? " > " : " < ";
  const absl::string_view is_behind = parts.descending ? " < " : " > ";
  return absl::StrCat(
      "WITH edge AS (SELECT * FROM (\n",  //
      "          SELECT ", column, " AS lead", keys.selected, " FROM ", parts.from, " WHERE ",
      by_index, "\n",  //
      "          ORDER BY ", OrderBy(keys.columns, parts.descending), " LIMIT ", limit,
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

// ROWS BETWEEN … 1 PRECEDING: the bytes before a row, so that the row which crosses the limit is
// still returned, and shows that there are more. By the keys' own names the planner sees that the
// window's rows are already in order. One window for both: PostgreSQL stores its rows once, and
// lead() asks nothing of its frame.
absl::StatusOr<Sql> PageSql(const PageParts& parts, const KeyValues& after, int page_size,
                            TextParams parameters) {
  assert(page_size >= 1);
  std::string behind;
  if (!after.empty()) {
    auto made = BehindSql(parts, after, &parameters);
    if (!made.ok()) return made.status();
    behind = *std::move(made);
  }
  const KeyNames keys(parts.keys);
  const std::string limit = parameters.Integer(int64_t{page_size} + 1);
  const std::string bytes_max = parameters.Integer(static_cast<int64_t>(parts.bytes_max));
  const std::string rows =
      parts.far_apart.has_value()
          ? FarApartRowsSql(parts, behind, limit)
          : RowsSql(parts, absl::StrCat(parts.where, behind.empty() ? "" : " AND ", behind), limit);
  std::string text = absl::StrCat(
      "SELECT * FROM (\n",  //
      "  SELECT lead(true) OVER page IS NOT NULL AS has_next", keys.selected, ",\n", parts.columns,
      ",\n         COALESCE(sum(", parts.bytes, ") OVER page, 0) AS bytes_before\n", "  FROM (",
      rows, ") ", parts.alias, " ", parts.join, "\n", "  WINDOW page AS (ORDER BY ",
      OrderBy(keys.columns, parts.descending),
      " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)\n", ") page WHERE bytes_before < ",
      bytes_max, " ORDER BY ", OrderBy(keys.names, parts.descending));
  return Sql{std::move(text), parameters.Take()};
}

KeyValues ReadKeys(const Result& result, int row, const std::vector<PageKey>& keys) {
  KeyValues values;
  int column = 1;
  for (const PageKey& key : keys) {
    if (key.type == "timestamptz") {
      values.push_back(absl::StrCat(absl::ToUnixMicros(result.Timestamp(row, column))));
    } else if (key.type == "text") {
      values.emplace_back(result.Text(row, column));
    } else {
      const bool small = key.type == "smallint";
      values.push_back(absl::StrCat(small ? result.Int2(row, column) : result.Int4(row, column)));
    }
    ++column;
  }
  return values;
}

std::string OfSessionSql(absl::string_view alias, absl::string_view session_id, int partition_count,
                         TextParams* parameters) {
  return absl::StrCat(
      alias, ".partition = ", parameters->SmallInteger(PartitionOf(session_id, partition_count)),
      " AND ", alias, ".session_id = ", parameters->Text(session_id));
}

std::string SessionOfSql(absl::string_view alias) {
  return absl::StrCat(
      "CROSS JOIN LATERAL (SELECT s.namespace, s.owner_id, s.state FROM sessions s WHERE "
      "s.partition = ",
      alias, ".partition AND s.id = ", alias, ".session_id LIMIT 1) s");
}

std::string InScopeSql(absl::string_view namespace_name, const Scope& scope,
                       TextParams* parameters) {
  std::string sql = "true";
  if (namespace_name != "-") {
    if (!scope.HasNamespace(namespace_name)) return "false";
    sql = absl::StrCat("s.namespace = ", parameters->Text(namespace_name));
  } else if (!scope.everything() && !scope.all_namespaces()) {
    // No namespace has a character that means something in an array.
    sql = absl::StrCat(
        "(s.namespace = ANY(",
        parameters->Add(absl::StrCat("{", absl::StrJoin(scope.names(), ","), "}"), "text[]"), ")");
    for (const std::string& prefix : scope.prefixes())
      absl::StrAppend(&sql, " OR starts_with(s.namespace, ", parameters->Text(prefix), ")");
    absl::StrAppend(&sql, ")");
  }
  if (const auto owner = scope.owner_id(); owner.has_value())
    absl::StrAppend(&sql, " AND s.owner_id = ", parameters->Text(*owner));
  return sql;
}

}  // namespace sessiond::db
