#include "server/rpc/message_service.h"

#include <utility>

#include "server/rpc/list_page.h"
#include "state_machine/filter.h"

namespace sessiond::rpc {

Answer<v1::ListMessagesResponse> MessageService::ListMessages(CallInfo call,
                                                              v1::ListMessagesRequest request) {
  const absl::StatusOr<bool> descending = ParseMessageOrder(request.order_by());
  if (!descending.ok()) co_return descending.status();
  db::MessageSelection selection{.session_id = request.session_id(),
                                 .include_deleted = request.include_deleted(),
                                 .after_sequence = request.after_sequence(),
                                 .descending = *descending};
  auto page = PageOf(request, {"ListMessages", request.session_id(), Part(request.after_sequence()),
                               request.order_by(), Part(request.include_deleted())});
  co_return ReplyOf(co_await store_.List(std::move(selection), std::move(page), call.asker),
                    &v1::ListMessagesResponse::mutable_messages);
}

}  // namespace sessiond::rpc
