// Lists by key, whatever they list. The next page begins behind the last row of this one, found by
// one step into the index that the order rides, and so neither skips nor repeats a row while others
// come. The statement itself ends a page early by bytes (kPageBytesMax), so that a thousand large
// rows never meet in memory:
//
//   by order and key, one row more than asked  →  has each a next one? how many bytes before it?  →
//   those that fit
//
// A walk along an index fetches each row's page when it comes to it, one after the other. Where the
// rows lie far apart and have not been in use lately, that is as many waits for the disk. Of scans
// by an index PostgreSQL fetches pages ahead (effective_io_concurrency) for bitmap scans alone,
// which know no order and no limit. So a page of rows that are `far_apart` is made in three steps:
//
//   the last key of a page, by the index alone as far as it is vacuumed  →  all up to that key,
//   their pages side by side  →  if some of those do not match: more from behind that key, in order
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
#include "db/query/sql_parameters.h"
#include "state_machine/limits.h"

namespace sessiond::db {

// What the FULL view adds to a session: of each list so many, and half of what a page may have, so
// that both and the session stay within a reply.
inline constexpr int kViewRowsMax = 100;
inline constexpr std::size_t kViewBytesMax = kPageBytesMax / 2;

struct PageParts {
  // What the rows are called, and where they come from: `s`, `sessions s`. Joins in `from` are for
  // `where` alone. `where` has no OR outside of parentheses.
  absl::string_view alias;
  absl::string_view from;
  std::string where;
  // What makes a row unique, in the order of the list.
  std::vector<absl::string_view> keys;
  bool descending = false;
  // Rows that lie far apart: those whose `column`, which leads their index before `keys`, has
  // `value`, a placeholder. `behind` tells where the page begins, if it is not the first. Neither
  // is said in `where`.
  struct FarApart {
    absl::string_view column;
    std::string value;
    std::string behind;
  };
  std::optional<FarApart> far_apart;
  // What is looked up for each row of the page, and only for those.
  absl::string_view join;
  // Of the row and what was joined to it.
  absl::string_view columns;
  // What a row adds to the reply; only what may be large is counted.
  absl::string_view bytes;
  std::size_t bytes_max = kPageBytesMax;
};

// Read it with ReadPage: has_next, then `columns`. REQUIRES: 1 <= page_size.
Sql PageSql(const PageParts& parts, int page_size, Parameters parameters);

// The condition of rows behind the one with these values. Rows compare column by column, as indexes
// do: one step into the index.
std::string BehindSql(absl::Span<const absl::string_view> keys, bool descending,
                      absl::Span<const std::string> placeholders);

// The condition that rows of `alias` lie below this session.
std::string OfSessionSql(absl::string_view alias, absl::string_view session_id, int partition_count,
                         Parameters* parameters);

// The session `s` of rows of `alias`, for conditions: its namespace and state. LIMIT makes it a
// look-up for each row, so that the order's index is walked, never all sessions joined.
std::string SessionOfSql(absl::string_view alias);

// The condition that a session `s` lies in this namespace; `-`: in any.
std::string NamespaceSql(absl::string_view namespace_name, Parameters* parameters);

// Takes rows while they fit, their own columns behind has_next; `read` fills one element. True:
// there are more.
template <class Elements, class Read>
bool ReadPage(const Result& result, int page_size, Elements* elements, Read read,
              std::size_t bytes_max = kPageBytesMax) {
  std::size_t bytes = 0;
  const int rows = std::min(result.rows(), page_size);
  for (int row = 0; row < rows; ++row) {
    auto* element = elements->Add();
    read(row, element);
    bytes += element->ByteSizeLong();
    if (row > 0 && bytes > bytes_max) {
      elements->RemoveLast();
      return true;
    }
  }
  return rows > 0 && result.Bool(rows - 1, 0);
}

// A count as the API says it: beyond int32 its maximum.
inline int32_t Saturated(int64_t count) {
  return static_cast<int32_t>(std::min<int64_t>(count, std::numeric_limits<int32_t>::max()));
}

// Where a page in the order of a time ended.
struct TimeKey {
  absl::Time time;
  std::string id;
};

// As the values that a page token carries, and back. Nothing if the values are not such a key.
std::vector<std::string> KeyValues(const TimeKey& key);
std::optional<TimeKey> ParseTimeKey(absl::Span<const std::string> values);

}  // namespace sessiond::db
