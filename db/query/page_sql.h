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
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "db/base/page.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
#include "db/query/question.h"
#include "db/query/sql_parameters.h"
#include "state_machine/limits.h"

namespace sessiond::db {

// What the FULL view adds to a session: of each list so many, and half of what a page may have, so
// that both and the session stay within a reply.
inline constexpr int kViewRowsMax = 100;
inline constexpr std::size_t kViewBytesMax = kPageBytesMax / 2;

// A column that makes a row unique, with others, in the order of the list.
struct PageKey {
  absl::string_view column;
  // timestamptz, text, integer or smallint.
  absl::string_view type;
};

struct PageParts {
  // What the rows are called, and where they come from: `s`, `sessions s`. Joins in `from` are for
  // `where` alone. `where` has no OR outside of parentheses.
  absl::string_view alias;
  absl::string_view from;
  std::string where;
  std::vector<PageKey> keys;
  bool descending = false;
  // Rows that lie far apart: those whose `column`, which leads their index before `keys`, has
  // `value`, a placeholder. It is not said in `where`.
  struct FarApart {
    absl::string_view column;
    std::string value;
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

// One page, from the beginning or behind the row with these values: has_next, the keys, `columns`.
// INVALID_PAGE_TOKEN: they are not such values. REQUIRES: 1 <= page_size.
absl::StatusOr<Sql> PageSql(const PageParts& parts, const KeyValues& after, int page_size,
                            Parameters parameters);

// REQUIRES: the result of PageSql with these keys.
KeyValues ReadKeys(const Result& result, int row, const std::vector<PageKey>& keys);

// A page as a question. INVALID_PAGE_TOKEN: as PageSql.
template <class Message>
using ListQuestion = absl::StatusOr<Question<Page<Message>>>;

// The page, and its rows as messages: up to `page_size` of them, and `bytes_max`, but at least one.
// `read` is of db/rows.
template <class Message>
ListQuestion<Message> PageQuestion(const PageParts& parts, const KeyValues& after, int page_size,
                                   Parameters parameters,
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

// The condition that rows of `alias` lie below this session.
std::string OfSessionSql(absl::string_view alias, absl::string_view session_id, int partition_count,
                         Parameters* parameters);

// The session `s` of rows of `alias`, for conditions: its namespace and state. LIMIT makes it a
// look-up for each row, so that the order's index is walked, never all sessions joined.
std::string SessionOfSql(absl::string_view alias);

// The condition that a session `s` lies in this namespace; `-`: in any.
std::string NamespaceSql(absl::string_view namespace_name, Parameters* parameters);

// A count as the API says it: beyond int32 its maximum.
inline int32_t Saturated(int64_t count) {
  return static_cast<int32_t>(std::min<int64_t>(count, std::numeric_limits<int32_t>::max()));
}

}  // namespace sessiond::db
