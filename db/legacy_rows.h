// What the rows of the old applications mean: a row, as JSON, becomes a part of the session it
// belongs to. Pure; what cannot be told is said in a sentence, and the session is not taken then.
#pragma once

#include <map>
#include <optional>
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

// One row, and where its fields are found in it.
class LegacyRow {
 public:
  // `columns` are the names that a table's fields have in this database; `problems` is told what
  // cannot be read.
  LegacyRow(const LegacyTable& table, const std::map<std::string, std::string>& columns,
            google::protobuf::Struct values, std::vector<std::string>& problems);

  // The value of a field; null where there is no such column, or nothing in it.
  const google::protobuf::Value* Find(absl::string_view field) const;
  // As text; empty for nothing. Numbers and booleans as SQL writes them.
  std::string Text(absl::string_view field) const;
  // A time; without a zone it is UTC.
  std::optional<google::protobuf::Timestamp> Time(absl::string_view field) const;
  std::optional<int32_t> Count(absl::string_view field) const;
  bool Bool(absl::string_view field) const;
  // JSON, be it in a column of text; nothing where there is none.
  std::optional<google::protobuf::Value> Json(absl::string_view field) const;
  // A JSON object; any other JSON is put under `key` in one.
  std::optional<google::protobuf::Struct> Object(absl::string_view field, const char* key) const;

  // Adds to what keeps the session from being taken: `session_errors 17: category: …`.
  void Refuse(absl::string_view field, absl::string_view why) const;
  // What no field was made of; of large values only how large they are.
  google::protobuf::Struct Rest() const;
  const LegacyTable& table() const { return table_; }

 private:
  const LegacyTable& table_;
  const std::map<std::string, std::string>& columns_;
  const google::protobuf::Struct values_;
  std::vector<std::string>& problems_;
};

// Puts a row into the session it belongs to. Rows of one session come in the order of their
// creation, the session's own first.
void AddLegacyRow(LegacyLayout layout, const LegacyRow& row, v1::ImportSessionsRequest& request);

// Makes the session whole when all its rows were added.
void CompleteLegacySession(LegacyLayout layout, v1::ImportSessionsRequest& request);

// An id as the daemon has it: a UUID in lower case and with its dashes; any other text as it is.
std::string LegacyId(absl::string_view id);

}  // namespace sessiond::db
