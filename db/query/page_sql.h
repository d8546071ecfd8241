// Pages of lists by key, for any kind of row. The next page begins after the last row of this one,
// found by one step into the order's index, and so neither skips nor repeats a row while others are
// inserted. The statement itself ends a page early by bytes (kPageBytesMax), so that a thousand
// large rows are never in memory together:
//
//   by order and key, one row more than asked  →  has each a next one? how many bytes before it?  →
//   those that fit
//
// An index scan fetches each row's page when it reaches the row, one after the other. If the rows
// lie far apart and are not in memory, the scan waits for the disk once per row. PostgreSQL
// prefetches (effective_io_concurrency) only for bitmap scans, which have no order and no limit. So
// a page of rows that are `far_apart` is made in three steps:
//
//   the last key of a page, by the index alone as far as it is vacuumed  →  all up to that key,
//   their pages in parallel  →  if some of those do not match: more from after that key, in order
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "db/base/page.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
#include "db/query/question.h"
#include "db/query/text_params.h"
#include "state_machine/limits.h"
#include "state_machine/scope.h"

namespace sessiond::db {

// What the FULL view adds to a session: at most this many rows of each list, and half the bytes of
// a page, so that both lists and the session fit into a reply.
inline constexpr int kViewRowsMax = 100;
inline constexpr std::size_t kViewBytesMax = kPageBytesMax / 2;

// A column that makes a row unique, with others, in the order of the list.
struct PageKey {
  absl::string_view column;
  // timestamptz, text, integer or smallint.
  absl::string_view type;
};

struct PageParts {
  // The alias of the rows, and where they come from: `s`, `sessions s`. Joins in `from` are only
  // for `where`. `where` has no OR outside of parentheses.
  absl::string_view alias;
  absl::string_view from;
  std::string where;
  std::vector<PageKey> keys;
  bool descending = false;
  // Rows that lie far apart: those whose `column`, which leads their index before `keys`, has
  // `value`, a placeholder. `where` does not repeat that.
  struct FarApart {
    absl::string_view column;
    std::string value;
  };
  std::optional<FarApart> far_apart;
  // What is looked up for each row of the page, and for no other.
  absl::string_view join;
  // Columns of the row and of what was joined to it.
  absl::string_view columns;
  // How many bytes a row adds to the reply; only what may be large is counted.
  absl::string_view bytes;
  std::size_t bytes_max = kPageBytesMax;
};

// One page, from the beginning or after the row with these values: has_next, the keys, `columns`.
// INVALID_PAGE_TOKEN: these are not values of the keys. REQUIRES: 1 <= page_size.
absl::StatusOr<Sql> PageSql(const PageParts& parts, const KeyValues& after, int page_size,
                            TextParams parameters);

// REQUIRES: the result of PageSql with these keys.
KeyValues ReadKeys(const Result& result, int row, const std::vector<PageKey>& keys);

// A page as a question. INVALID_PAGE_TOKEN: as PageSql.
template <class Message>
using ListQuestion = absl::StatusOr<Question<Page<Message>>>;

// The page, and its rows as messages: up to `page_size` of them, and `bytes_max`, but at least one.
// `read` is of db/rows.
template <class Message>
ListQuestion<Message> PageQuestion(const PageParts& parts, const KeyValues& after, int page_size,
                                   TextParams parameters,
                                   void (*read)(const Result& result, int row, int first_column,
                                                Message* message)) {
  auto sql = PageSql(parts, after, page_size, std::move(parameters));
  if (!sql.ok()) return sql.status();
  Question<Page<Message>> question;
  question.statements.push_back(*std::move(sql));
  question.read = [keys = parts.keys, bytes_max = parts.bytes_max, page_size,
                   read](absl::Span<const Result> results) {
    const Result& result = results.front();
    const int rows = std::min(result.rows(), page_size);
    Page<Message> page;
    bool more = rows > 0 && result.Bool(rows - 1, 0);
    std::size_t bytes = 0;
    for (int row = 0; row < rows; ++row) {
      Message* const message = page.rows.Add();
      read(result, row, static_cast<int>(1 + keys.size()), message);
      bytes += message->ByteSizeLong();
      if (row == 0 || bytes <= bytes_max) continue;
      page.rows.RemoveLast();
      more = true;
      break;
    }
    if (more) page.end = ReadKeys(result, page.rows.size() - 1, keys);
    return page;
  };
  return question;
}

// The condition that rows of `alias` belong to this session.
std::string OfSessionSql(absl::string_view alias, absl::string_view session_id, int partition_count,
                         TextParams* parameters);

// The session `s` of rows of `alias`, for conditions: its namespace, owner and state. LIMIT makes
// it a look-up for each row, so that the order's index is scanned, and all sessions are never
// joined.
std::string SessionOfSql(absl::string_view alias);

// The condition that a session `s` is in scope and in this namespace; `-`: in any.
std::string InScopeSql(absl::string_view namespace_name, const Scope& scope,
                       TextParams* parameters);

// A count as the API returns it: beyond int32 its maximum.
inline int32_t Saturated(int64_t count) {
  return static_cast<int32_t>(std::min<int64_t>(count, std::numeric_limits<int32_t>::max()));
}

}  // namespace sessiond::db
