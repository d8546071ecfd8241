#include "db/query/message_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/rows/message_rows.h"

namespace sessiond::db {

Sql ListMessagesSql(absl::string_view session_id, int partition_count, int32_t after_sequence,
                    bool descending, int page_size) {
  Parameters parameters;
  std::string where = OfSessionSql("m", session_id, partition_count, &parameters);
  if (after_sequence > 0) {
    absl::StrAppend(&where, " AND m.sequence ", descending ? "< " : "> ",
                    parameters.Add(absl::StrCat(after_sequence), "integer"));
  }
  return PageSql({.alias = "m",
                  .from = "session_messages m",
                  .where = std::move(where),
                  .keys = {"m.sequence"},
                  .descending = descending,
                  .columns = kMessageColumns,
                  .bytes = "octet_length(m.content) + octet_length(m.metadata::text)"},
                 page_size, std::move(parameters));
}

bool ReadMessagePage(const Result& result, int page_size, v1::ListMessagesResponse* response) {
  return ReadPage(
      result, page_size, response->mutable_messages(),
      [&](int row, v1::SessionMessage* message) { ReadMessage(result, row, 1, message); });
}

}  // namespace sessiond::db
