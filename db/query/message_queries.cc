#include "db/query/message_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/rows/message_rows.h"

namespace sessiond::db {

ListQuestion<v1::SessionMessage> ListPage(const MessageSelection& selection, int partition_count,
                                          const KeyValues& after, int page_size) {
  Parameters parameters;
  const PageParts parts{
      .alias = "m",
      .from = "session_messages m",
      .where = OfSessionSql("m", selection.session_id, partition_count, &parameters),
      .keys = {{"m.sequence", "integer"}},
      .descending = selection.descending,
      .columns = kMessageColumns,
      .bytes = "octet_length(m.content) + octet_length(m.metadata::text)"};
  // All pages except the first come after it anyway.
  const bool begins = after.empty() && selection.after_sequence > 0;
  return PageQuestion(parts, begins ? KeyValues{absl::StrCat(selection.after_sequence)} : after,
                      page_size, std::move(parameters), ReadMessage);
}

}  // namespace sessiond::db
