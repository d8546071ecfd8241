// Lists and summaries of errors. How pages work is told in page_sql.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/error_service.pb.h"
#include "state_machine/filter.h"

namespace sessiond::db {

// Which errors are meant; what ListErrors and SummarizeErrors have in common.
struct ErrorSelection {
  // Empty: all sessions of the namespace. Whether there is such a session, and whether it may be
  // seen, is not asked here.
  std::string session_id;
  // Without a session_id; `-`: all.
  std::string namespace_name = "default";
  // Parsed for kErrors.
  Filter filter;
  // Without a session_id: of deleted sessions too.
  bool include_deleted = false;
  // Of the database.
  int partition_count = 1;
};

// One page, the newest first; read it with ReadErrorPage.
Sql ListErrorsSql(const ErrorSelection& selection, const std::optional<TimeKey>& after,
                  int page_size);

// True: there are more.
bool ReadErrorPage(const Result& result, int page_size, v1::ListErrorsResponse* response);

// Where a page that ends with this error ended.
TimeKey KeyOf(const v1::SessionError& last);

// One error; its row begins with kErrorColumns.
Sql GetErrorSql(absl::string_view session_id, int partition_count, absl::string_view error_id);

// The newest that are not resolved, for the FULL view of a session: at most kViewRowsMax.
Sql NewestOpenErrorsSql(absl::string_view session_id, int partition_count);
void ReadNewestOpenErrors(const Result& result,
                          google::protobuf::RepeatedPtrField<v1::SessionError>* errors);

// One trip: the counts, then the patterns.
std::vector<Sql> SummarizeErrorsSql(const ErrorSelection& selection);

// REQUIRES: the results of that trip. Counts beyond int32 are answered as its maximum.
void ReadErrorSummary(absl::Span<const Result> results, v1::SummarizeErrorsResponse* response);

}  // namespace sessiond::db
