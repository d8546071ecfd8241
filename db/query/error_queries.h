// Lists and summaries of errors. page_sql.h says how pages work.
#pragma once

#include <optional>

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/error_service.pb.h"

namespace sessiond::db {

// None of these checks whether the session exists and may be seen.

// One page, the newest first.
ListQuestion<v1::SessionError> ListPage(const ErrorSelection& selection, int partition_count,
                                        const KeyValues& after, int page_size);

// One error; nothing if there is none.
Question<std::optional<v1::SessionError>> ErrorById(absl::string_view session_id,
                                                    int partition_count,
                                                    absl::string_view error_id);

// The newest that are not resolved, for the FULL view of a session: at most kViewRowsMax.
Question<Page<v1::SessionError>> NewestOpenErrors(absl::string_view session_id,
                                                  int partition_count);

// The counts, and the patterns. Counts beyond int32 become its maximum.
Question<v1::SummarizeErrorsResponse> ErrorSummary(const ErrorSelection& selection,
                                                   int partition_count);

}  // namespace sessiond::db
