// The meaning of the old applications' rows: a row, as JSON, becomes a part of its session. Pure;
// what is unclear is reported in a sentence, and the session is not imported then.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "sessiond/v1/admin_service.pb.h"

namespace sessiond::db {

// The old applications. Each has a layout of its own.
enum class LegacyLayout { kTicketExport, kExecution, kInterview };

// A column that is read: its possible names; the first one that exists counts.
struct LegacyColumn {
  const char* field;
  std::vector<const char*> names;
  bool required = false;
};

// What a row of a table becomes.
enum class LegacyPart { kSession, kTask, kError, kFile, kTicket, kMessage };

struct LegacyTable {
  const char* name;
  LegacyPart part;
  std::vector<LegacyColumn> columns;
};

// The tables of a layout, the sessions' own first. Its first column is the session's key; the first
// column of every other table is the key of the session that a row belongs to.
const std::vector<LegacyTable>& TablesOf(LegacyLayout layout);

// Findings about a session: why it cannot be imported, a sentence each; and what was not imported,
// or was changed.
struct LegacyFindings {
  std::vector<std::string> problems;
  std::vector<std::string> remarks;
};

// A value of a row, as JSON.
struct LegacyCell {
  google::protobuf::Value value;
  // What differs from the original (see exact_json.h).
  std::vector<std::string> changes;
  int depth = 0;
  // For a column of numbers, SQL's text of it: complete when it is read as a text. Its changes are
  // reported when it is stored as JSON.
  std::string digits;
  // Why there is no value; empty if there is one.
  std::string unreadable;
};

// One row, and where its fields are in it. Fields that were read count as imported; the others are
// its rest.
class LegacyRow {
 public:
  // `columns` are the names of a table's fields in this database, `cells` the values that are not
  // null. Everything but the cells outlives the row.
  LegacyRow(const LegacyTable& table, const std::map<std::string, std::string>& columns,
            std::map<std::string, LegacyCell> cells, LegacyFindings& findings);

  // The value of a field; null if there is no such column, or it has no value.
  const google::protobuf::Value* Find(absl::string_view field) const;
  // Whether there is such a column, and it is SQL's null.
  bool IsNull(absl::string_view field) const;
  // The same as text, without counting as imported; empty for no value, or one that is not text.
  std::string Look(absl::string_view field) const;
  // As text; empty for no value. Numbers and booleans as in SQL.
  std::string Text(absl::string_view field) const;
  // A time; without a zone it is UTC. A time finer than a microsecond also stays in the rest.
  std::optional<google::protobuf::Timestamp> Time(absl::string_view field) const;
  // The same, and a problem if there is none.
  std::optional<google::protobuf::Timestamp> RequiredTime(absl::string_view field) const;
  std::optional<int32_t> Count(absl::string_view field) const;
  bool Bool(absl::string_view field) const;
  // JSON, also in a text column; nothing if there is none.
  std::optional<google::protobuf::Value> Json(absl::string_view field) const;
  // A JSON object; any other JSON is put under `key` in one.
  std::optional<google::protobuf::Struct> Object(absl::string_view field, const char* key) const;

  // Leaves a field in the rest although it was read.
  void AlsoKeep(absl::string_view field) const { taken_.erase(ColumnOf(field)); }
  // Adds a reason why the session cannot be imported: `session_errors 17: category: …`.
  void Refuse(absl::string_view field, absl::string_view why) const;
  void Remark(absl::string_view field, absl::string_view what) const;
  // The fields that were not imported. Reports those that are too large or too deep for it.
  google::protobuf::Struct Rest() const;
  const LegacyTable& table() const { return *table_; }

 private:
  // Its name here, or the field's own if there is none.
  std::string ColumnOf(absl::string_view field) const;
  const LegacyCell* Cell(absl::string_view field) const;
  const google::protobuf::Value* Take(absl::string_view field) const;
  // Reports how a cell differs from the original.
  void TellChanges(absl::string_view column, const LegacyCell& cell) const;
  // `session_errors 17: details`.
  std::string Place(absl::string_view column) const;
  // `session_errors 17: details.a[2]: 1e-400 …`.
  std::string Changed(absl::string_view column, absl::string_view change) const;

  const LegacyTable* table_;
  const std::map<std::string, std::string>* columns_;
  LegacyFindings* findings_;
  std::map<std::string, LegacyCell> cells_;
  mutable std::set<std::string> taken_;  // Columns.
};

// Adds the rows of one table to their session, in the order of their times, and then of their ids.
// The session's own row comes first.
void AddLegacyRows(LegacyLayout layout, const std::vector<LegacyRow>& rows,
                   v1::ImportSessionsRequest& request);

// Completes the session after all its rows were added: they decide when it ended, if its own row
// does not say so.
void CompleteLegacySession(LegacyLayout layout, const LegacyRow& row,
                           v1::ImportSessionsRequest& request);

// An id in the daemon's format: a UUID in lower case and with its dashes; any other text unchanged.
std::string LegacyId(absl::string_view id);

}  // namespace sessiond::db
