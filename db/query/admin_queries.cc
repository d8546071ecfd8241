#include "db/query/admin_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "db/query/page_sql.h"
#include "db/sql/statements.h"
#include "state_machine/struct_json.h"

namespace sessiond::db {
namespace {

Batch ReadBatch(absl::Span<const Result> results) {
  const Result& result = results.front();
  Batch batch{.due = Saturated(result.Int8(0, 1)), .held = Saturated(result.Int8(0, 2))};
  const absl::string_view ids = result.Text(0, 0);
  if (!ids.empty()) batch.session_ids = absl::StrSplit(ids, ',');
  return batch;
}

// One row: the ids of a batch, how many sessions are due, and how many are held.
Question<Batch> BatchOf(absl::string_view namespace_name, const Scope& scope, std::string condition,
                        bool holds_matter, TextParams parameters) {
  const std::string where =
      absl::StrCat(InScopeSql(namespace_name, scope, &parameters), " AND ", condition);
  const absl::string_view held = holds_matter ? "s.hold" : "false";
  std::string text = absl::StrCat(
      "SELECT ARRAY_TO_STRING(ARRAY(SELECT s.id FROM sessions s WHERE ", where, " AND NOT ", held,
      " LIMIT ", kBatchSessions, "), ','),\n", "       (SELECT count(*) FROM sessions s WHERE ",
      where, " AND NOT ", held, "),\n", "       (SELECT count(*) FROM sessions s WHERE ", where,
      " AND ", held, ")");
  return {.statements = {{std::move(text), parameters.Take()}}, .read = ReadBatch};
}

}  // namespace

Question<Batch> OwnedSessions(absl::string_view namespace_name, absl::string_view owner_id,
                              const Scope& scope) {
  TextParams parameters;
  std::string condition = absl::StrCat("s.owner_id = ", parameters.Text(owner_id));
  return BatchOf(namespace_name, scope, std::move(condition), true, std::move(parameters));
}

Question<Batch> ReferencingSessions(absl::string_view namespace_name, absl::string_view name,
                                    absl::string_view value, const Scope& scope) {
  TextParams parameters;
  Struct reference;
  (*reference.mutable_fields())[std::string(name)] = StringValue(value);
  std::string condition = absl::StrCat("s.refs @> ", parameters.Json(ToJson(reference)));
  return BatchOf(namespace_name, scope, std::move(condition), false, std::move(parameters));
}

Question<Batch> DueSessions(absl::string_view namespace_name, absl::string_view workflow,
                            const Scope& scope) {
  TextParams parameters;
  std::string condition = "s.purge_at <= clock_timestamp()";
  if (!workflow.empty())
    absl::StrAppend(&condition, " AND s.workflow = ", parameters.Text(workflow));
  return BatchOf(namespace_name, scope, std::move(condition), true, std::move(parameters));
}

Question<int64_t> ForgetOwner(absl::string_view namespace_name, absl::string_view owner_id,
                              const Scope& scope) {
  TextParams parameters;
  const std::string where = absl::StrCat(InScopeSql(namespace_name, scope, &parameters),
                                         " AND s.owner_id = ", parameters.Text(owner_id));
  return {.statements = {{absl::StrCat("UPDATE tombstones s SET owner_id = '' WHERE ", where),
                          parameters.Take()}},
          .read = [](absl::Span<const Result> results) { return results.front().affected(); }};
}

Question<DatabaseInfo> LoadDatabaseInfo() {
  return {.statements = {{kLoadDatabaseInfo.sql, {}}},
          .read = [](absl::Span<const Result> results) {
            const Result& result = results.front();
            const absl::string_view version = result.Text(0, 2);
            return DatabaseInfo{
                .database_id = std::string(result.Text(0, 0)),
                .schema_version = result.Int4(0, 1),
                // Distributions add words of their own: `15.14 (Debian 15.14-0+deb12u1)`.
                .postgres_version = std::string(version.substr(0, version.find(' ')))};
          }};
}

}  // namespace sessiond::db
