#include "server/rpc/error_service.h"

#include <utility>

#include "server/rpc/list_page.h"
#include "state_machine/filter.h"

namespace sessiond::rpc {
namespace {

// What ListErrors and SummarizeErrors have in common. INVALID_FILTER.
template <class Request>
absl::StatusOr<db::ErrorSelection> SelectionOf(const Request& request) {
  auto filter = ParseFilter(request.filter(), FilterResource::kErrors);
  if (!filter.ok()) return filter.status();
  return db::ErrorSelection{.session_id = request.session_id(),
                            .namespace_name = NamespaceOf(request.namespace_()),
                            .filter = *std::move(filter),
                            .include_deleted = request.include_deleted()};
}

}  // namespace

Answer<v1::SessionError> ErrorService::GetError(CallInfo call, v1::GetErrorRequest request) {
  return store_.GetError(
      {.session_id = request.session_id(), .include_deleted = request.include_deleted()},
      request.error_id(), call.asker);
}

Answer<v1::ListErrorsResponse> ErrorService::ListErrors(CallInfo call,
                                                        v1::ListErrorsRequest request) {
  auto selection = SelectionOf(request);
  if (!selection.ok()) co_return selection.status();
  auto page = PageOf(request, {"ListErrors", request.session_id(), selection->namespace_name,
                               request.filter(), Part(request.include_deleted())});
  co_return ReplyOf(co_await store_.List(*std::move(selection), std::move(page), call.asker),
                    &v1::ListErrorsResponse::mutable_errors);
}

Answer<v1::SummarizeErrorsResponse> ErrorService::SummarizeErrors(
    CallInfo call, v1::SummarizeErrorsRequest request) {
  auto selection = SelectionOf(request);
  if (!selection.ok()) co_return selection.status();
  co_return co_await store_.SummarizeErrors(*std::move(selection), call.asker);
}

}  // namespace sessiond::rpc
