// What the rows of the old applications mean: a row, as JSON, becomes a part of the session it
// belongs to. Pure; what cannot be told is said in a sentence, and the session is not taken then.
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

// A column that is read: the names it may have, the first that is there counts.
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

// The tables of a layout, the sessions' own first; its first column is their key, and the first one
// of every other table the key of the session that a row belongs to.
const std::vector<LegacyTable>& TablesOf(LegacyLayout layout);

// What has to be said of a session: why it cannot be taken, a sentence each; and what of it was not
// taken over, or not as it was.
struct LegacyFindings {
  std::vector<std::string> problems;
  std::vector<std::string> remarks;
};

// A value of a row, as JSON.
struct LegacyCell {
  google::protobuf::Value value;
  // What is not as it was (see exact_json.h).
  std::vector<std::string> changes;
  int depth = 0;
  // Of a column of numbers, how SQL writes it: all there is to say where it is read as a text. Its
  // changes are told when it is kept as JSON.
  std::string digits;
  // Why there is no value; empty where there is one.
  std::string unreadable;
};

// One row, and where its fields are found in it. What is read out of a row counts as taken over;
// what is not is its rest.
class LegacyRow {
 public:
  // `columns` are the names that a table's fields have in this database, `cells` what is not null.
  // All but the cells outlives the row.
  LegacyRow(const LegacyTable& table, const std::map<std::string, std::string>& columns,
            std::map<std::string, LegacyCell> cells, LegacyFindings& findings);

  // The value of a field; null where there is no such column, or nothing in it.
  const google::protobuf::Value* Find(absl::string_view field) const;
  // Whether there is such a column, and SQL's null in it.
  bool IsNull(absl::string_view field) const;
  // The same as text, for who only looks; empty for nothing, and for what is no text.
  std::string Look(absl::string_view field) const;
  // As text; empty for nothing. Numbers and booleans as SQL writes them.
  std::string Text(absl::string_view field) const;
  // A time; without a zone it is UTC. What is finer than a microsecond also stays in the rest.
  std::optional<google::protobuf::Timestamp> Time(absl::string_view field) const;
  // The same, and a problem where there is none.
  std::optional<google::protobuf::Timestamp> RequiredTime(absl::string_view field) const;
  std::optional<int32_t> Count(absl::string_view field) const;
  bool Bool(absl::string_view field) const;
  // JSON, be it in a column of text; nothing where there is none.
  std::optional<google::protobuf::Value> Json(absl::string_view field) const;
  // A JSON object; any other JSON is put under `key` in one.
  std::optional<google::protobuf::Struct> Object(absl::string_view field, const char* key) const;

  // Keeps a field in the rest although it was read.
  void AlsoKeep(absl::string_view field) const { taken_.erase(ColumnOf(field)); }
  // Adds to what keeps the session from being taken: `session_errors 17: category: …`.
  void Refuse(absl::string_view field, absl::string_view why) const;
  void Remark(absl::string_view field, absl::string_view what) const;
  // What was not taken so far. Says what is too large or too deep to be.
  google::protobuf::Struct Rest() const;
  const LegacyTable& table() const { return *table_; }

 private:
  // Its name here, or the field's own where there is none.
  std::string ColumnOf(absl::string_view field) const;
  const LegacyCell* Cell(absl::string_view field) const;
  const google::protobuf::Value* Take(absl::string_view field) const;
  // Tells what of a cell is not as it was.
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

// Puts the rows of one table into the session they belong to, in the order of their times, and of
// their ids where these are the same. The session's own row comes first.
void AddLegacyRows(LegacyLayout layout, const std::vector<LegacyRow>& rows,
                   v1::ImportSessionsRequest& request);

// Makes the session whole when all its rows were added: when it was over follows from these, if
// its own row does not say so.
void CompleteLegacySession(LegacyLayout layout, const LegacyRow& row,
                           v1::ImportSessionsRequest& request);

// An id as the daemon has it: a UUID in lower case and with its dashes; any other text as it is.
std::string LegacyId(absl::string_view id);

}  // namespace sessiond::db
