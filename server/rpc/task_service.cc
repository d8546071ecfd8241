#include "server/rpc/task_service.h"

#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "db/query/task_queries.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/reads.h"
#include "state_machine/deciding.h"
#include "state_machine/filter.h"

namespace sessiond::rpc {
Answer<v1::SessionTask> TaskService::GetTask(CallInfo call, v1::GetTaskRequest request) {
  const auto found =
      co_await FindSession(store_, request.session_id(), request.include_deleted(), call.deadline);
  if (!found.ok()) co_return found.status();
  const v1::Session session = found->Parse();
  if (!session.has_current_task()) co_return TaskNotFound(request.session_id());
  co_return session.current_task();
}

Answer<v1::ListTasksResponse> TaskService::ListTasks(CallInfo call, v1::ListTasksRequest request) {
  absl::StatusOr<Filter> filter = ParseFilter(request.filter(), FilterResource::kTasks);
  if (!filter.ok()) co_return filter.status();
  const std::string name = NamespaceOf(request.namespace_());
  const Pages pages(store_, {"ListTasks", name, request.filter()});
  const auto after = pages.After(request.page_token(), db::ParseTimeKey);
  if (!after.ok()) co_return after.status();
  const db::TaskSelection selection{.namespace_name = name,
                                    .filter = *std::move(filter),
                                    .partition_count = store_.partition_count()};
  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(), db::ListTasksSql(selection, *after, page_size), call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();

  v1::ListTasksResponse response;
  if (db::ReadTaskPage(*result, page_size, &response)) {
    response.set_next_page_token(
        pages.TokenOf(db::KeyValues(db::KeyOf(*response.tasks().rbegin()))));
  }
  for (v1::SessionTask& task : *response.mutable_tasks()) Present(store_.Now(), &task);
  co_return response;
}

}  // namespace sessiond::rpc
