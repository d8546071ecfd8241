#include "server/rpc/error_service.h"

#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "db/query/error_queries.h"
#include "db/rows/error_rows.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/reads.h"
#include "state_machine/deciding.h"
#include "state_machine/filter.h"

namespace sessiond::rpc {
namespace {

// What ListErrors and SummarizeErrors have in common. INVALID_FILTER.
template <class Request>
absl::StatusOr<db::ErrorSelection> SelectionOf(const Request& request,
                                               const db::SessionStore& store) {
  absl::StatusOr<Filter> filter = ParseFilter(request.filter(), FilterResource::kErrors);
  if (!filter.ok()) return filter.status();
  return db::ErrorSelection{.session_id = request.session_id(),
                            .namespace_name = NamespaceOf(request.namespace_()),
                            .filter = *std::move(filter),
                            .include_deleted = request.include_deleted(),
                            .partition_count = store.partition_count()};
}

}  // namespace

// The session of a selection, if it is of one.
Task<absl::Status> ErrorService::CheckSession(const db::ErrorSelection& selection,
                                              db::Deadline deadline) {
  if (selection.session_id.empty()) co_return absl::OkStatus();
  const auto session =
      co_await FindSession(store_, selection.session_id, selection.include_deleted, deadline);
  co_return session.status();
}

Answer<v1::SessionError> ErrorService::GetError(CallInfo call, v1::GetErrorRequest request) {
  const auto session =
      co_await FindSession(store_, request.session_id(), request.include_deleted(), call.deadline);
  if (!session.ok()) co_return session.status();
  Query query(store_.queries(),
              db::GetErrorSql(request.session_id(), store_.partition_count(), request.error_id()),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  if (result->rows() == 0) co_return ErrorNotFound(request.session_id(), request.error_id());
  v1::SessionError error;
  db::ReadError(*result, 0, 0, &error);
  Present(store_.Now(), &error);
  co_return error;
}

Answer<v1::ListErrorsResponse> ErrorService::ListErrors(CallInfo call,
                                                        v1::ListErrorsRequest request) {
  const auto selection = SelectionOf(request, store_);
  if (!selection.ok()) co_return selection.status();
  const Pages pages(store_, {"ListErrors", request.session_id(), selection->namespace_name,
                             request.filter(), Part(request.include_deleted())});
  const auto after = pages.After(request.page_token(), db::ParseTimeKey);
  if (!after.ok()) co_return after.status();
  const absl::Status exists = co_await CheckSession(*selection, call.deadline);
  if (!exists.ok()) co_return exists;

  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(), db::ListErrorsSql(*selection, *after, page_size), call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::ListErrorsResponse response;
  if (db::ReadErrorPage(*result, page_size, &response)) {
    response.set_next_page_token(
        pages.TokenOf(db::KeyValues(db::KeyOf(*response.errors().rbegin()))));
  }
  for (v1::SessionError& error : *response.mutable_errors()) Present(store_.Now(), &error);
  co_return response;
}

Answer<v1::SummarizeErrorsResponse> ErrorService::SummarizeErrors(
    CallInfo call, v1::SummarizeErrorsRequest request) {
  const auto selection = SelectionOf(request, store_);
  if (!selection.ok()) co_return selection.status();
  const absl::Status exists = co_await CheckSession(*selection, call.deadline);
  if (!exists.ok()) co_return exists;
  Queries queries(store_.counts(), db::SummarizeErrorsSql(*selection), call.deadline);
  const auto results = co_await queries;
  if (!results.ok()) co_return results.status();
  v1::SummarizeErrorsResponse response;
  db::ReadErrorSummary(*results, &response);
  co_return response;
}

}  // namespace sessiond::rpc
