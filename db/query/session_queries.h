// The queries that callers shape: lists and counts of sessions, lists of events. Each is compiled
// into one statement from a closed vocabulary of columns; callers' values go into parameters, never
// into the text. page_sql.h says how pages work.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"
#include "db/base/answers.h"
#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/session_event.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// One page of at most so many sessions and, if it is more than one, bytes.
ListQuestion<v1::Session> ListPage(const SessionSelection& selection, int partition_count,
                                   const KeyValues& after, int page_size,
                                   std::size_t bytes_max = kPageBytesMax);

// An owner's recoverable sessions, newest first: one page of kPageSizeMax, by sessions_by_owner.
Question<Page<v1::Session>> RecoverableSessions(absl::string_view namespace_name,
                                                absl::string_view owner_id, const Scope& scope);

// A session with its newest files and open errors, or its tombstone.
Question<Aggregate> FullSession(absl::string_view session_id, int partition_count);

// That, and what its events say about imports.
Question<ImportedSession> FindImported(absl::string_view session_id, int partition_count);

// Counts beyond int32 become its maximum.
Question<v1::CountSessionsResponse> SessionCounts(const SessionSelection& selection,
                                                  int partition_count,
                                                  v1::CountSessionsRequest::GroupBy group_by);

// One page of a session's events, the oldest first. Does not check whether the session exists and
// may be seen.
ListQuestion<v1::SessionEvent> ListPage(const EventSelection& selection, int partition_count,
                                        const KeyValues& after, int page_size);

}  // namespace sessiond::db
