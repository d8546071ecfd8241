// The queries that callers shape: lists and counts of sessions, lists of events. Each is compiled
// into one statement from a closed vocabulary of columns; what callers said travels in parameters,
// never in the text. How pages work is told in page_sql.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/decide.h"
#include "state_machine/filter.h"

namespace sessiond::db {

// Which sessions are meant; what ListSessions and CountSessions have in common.
struct SessionSelection {
  // `-`: all.
  std::string namespace_name = "default";
  Filter filter;
  bool include_deleted = false;
  // Of the database.
  int partition_count = 1;
};

// Where a page of sessions ended: what its order compares.
struct SessionPageKey {
  // owner_id, status, or the state's number; empty in the order by create_time.
  std::string value;
  absl::Time create_time;
  std::string session_id;
};

// The key of a page's last session, as the values that a page token carries, and back. Nothing if
// the values are not a key of this order.
std::vector<std::string> PageKeyValues(const Order& order, const v1::Session& last);
std::optional<SessionPageKey> ParsePageKey(const Order& order,
                                           const std::vector<std::string>& values);

// One page, from the beginning or behind `after`; read it with ReadSessionPage. REQUIRES: 1 <=
// page_size.
Sql ListSessionsSql(SessionSelection selection, const Order& order,
                    const std::optional<SessionPageKey>& after, int page_size);

using Sessions = google::protobuf::RepeatedPtrField<v1::Session>;

// Takes up to `page_size` sessions, and kPageBytesMax bytes, but at least one. True: there are more
// behind them.
bool ReadSessionPage(const Result& result, int page_size, Sessions* sessions);

// An owner's recoverable sessions, newest first: one page of kPageSizeMax, off sessions_by_owner.
Sql ListRecoverableSessionsSql(absl::string_view namespace_name, absl::string_view owner_id);

// A session with its newest files and open errors, or its tombstone: one trip. Read it with
// ReadFullSession.
std::vector<Sql> GetFullSessionSql(absl::string_view session_id, int partition_count);

// REQUIRES: the results of that trip.
Aggregate ReadFullSession(absl::Span<const Result> results);

// Read it with ReadCounts.
Sql CountSessionsSql(const SessionSelection& selection, v1::CountSessionsRequest::GroupBy group_by);

// Counts beyond int32 are answered as its maximum.
void ReadCounts(const Result& result, v1::CountSessionsResponse* response);

// One page of a session's events, those behind `after_sequence` (0 for all). Whether there is such
// a session, and whether it may be seen, is not asked here. REQUIRES: 1 <= page_size.
Sql ListSessionEventsSql(absl::string_view session_id, int partition_count, int32_t after_sequence,
                         int page_size);

// The same of what it tells of imports, in one page.
Sql ImportsOfSessionSql(absl::string_view session_id, int partition_count);

// As ReadSessionPage.
bool ReadEventPage(const Result& result, int page_size, v1::ListSessionEventsResponse* response);

}  // namespace sessiond::db
