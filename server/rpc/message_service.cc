#include "server/rpc/message_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/message_queries.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/reads.h"
#include "state_machine/filter.h"

namespace sessiond::rpc {

Answer<v1::ListMessagesResponse> MessageService::ListMessages(CallInfo call,
                                                              v1::ListMessagesRequest request) {
  const absl::StatusOr<bool> descending = ParseMessageOrder(request.order_by());
  if (!descending.ok()) co_return descending.status();
  const Pages pages(store_, {"ListMessages", request.session_id(), Part(request.after_sequence()),
                             request.order_by(), Part(request.include_deleted())});
  const auto after = pages.After(request.page_token(), ParseSequence);
  if (!after.ok()) co_return after.status();
  const auto session =
      co_await FindSession(store_, request.session_id(), request.include_deleted(), call.deadline);
  if (!session.ok()) co_return session.status();

  const int page_size = PageSize(request.page_size());
  Query query(
      store_.queries(),
      db::ListMessagesSql(request.session_id(), store_.partition_count(),
                          after->value_or(request.after_sequence()), *descending, page_size),
      call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::ListMessagesResponse response;
  if (db::ReadMessagePage(*result, page_size, &response)) {
    const int32_t last = response.messages().rbegin()->sequence();
    response.set_next_page_token(pages.TokenOf({absl::StrCat(last)}));
  }
  co_return response;
}

}  // namespace sessiond::rpc
