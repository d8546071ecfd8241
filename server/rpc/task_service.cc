#include "server/rpc/task_service.h"

#include <string>
#include <utility>

#include "server/rpc/list_page.h"
#include "state_machine/filter.h"
#include "state_machine/preconditions.h"

namespace sessiond::rpc {

Answer<v1::SessionTask> TaskService::GetTask(CallInfo call, v1::GetTaskRequest request) {
  const auto found =
      co_await store_.GetSession(request.session_id(), request.include_deleted(), call.asker);
  if (!found.ok()) co_return found.status();
  v1::Session session;
  session.ParseFromString((*found)->bytes);
  if (!session.has_current_task()) co_return TaskNotFound(request.session_id());
  co_return std::move(*session.mutable_current_task());
}

Answer<v1::ListTasksResponse> TaskService::ListTasks(CallInfo call, v1::ListTasksRequest request) {
  auto filter = ParseFilter(request.filter(), FilterResource::kTasks);
  if (!filter.ok()) co_return filter.status();
  db::TaskSelection selection{.namespace_name = NamespaceOf(request.namespace_()),
                              .filter = *std::move(filter)};
  auto page = PageOf(request, {"ListTasks", selection.namespace_name, request.filter()});
  co_return ReplyOf(co_await store_.List(std::move(selection), std::move(page), call.asker),
                    &v1::ListTasksResponse::mutable_tasks);
}

}  // namespace sessiond::rpc
