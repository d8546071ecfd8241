#include "server/rpc/session_service.h"

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "db/session_queries.h"
#include "server/rpc/awaiters.h"
#include "server/state_machine/filter.h"
#include "server/state_machine/limits.h"
#include "server/state_machine/refusal.h"
#include "server/state_machine/session_id.h"
#include "server/state_machine/timestamps.h"

namespace sessiond::rpc {
namespace {

// A drawn id that is taken is drawn again, this often: with 32 random bits a second, twice is rare
// already.
constexpr int kDrawsMax = 5;

absl::Status UnknownWorkflow(const std::string& name, const std::vector<std::string>& known) {
  return Refusal(v1::UNKNOWN_WORKFLOW,
                 absl::StrCat("There is no workflow \"", name,
                              "\"; there are: ", absl::StrJoin(known, ", "), "."))
      .With("workflow", name)
      .With("known", absl::StrJoin(known, ","))
      .Violation("session.workflow", "is not the name of a workflow");
}

// A token of ours that carries no key of this order: made by a daemon of another version.
absl::Status NoPageKey() {
  return Refusal(v1::INVALID_PAGE_TOKEN,
                 "The page_token was not made for this query. Start again without one.");
}

int PageSize(int asked) { return asked == 0 ? kPageSizeDefault : std::min(asked, kPageSizeMax); }

std::string NamespaceOf(const std::string& asked) { return asked.empty() ? "default" : asked; }

absl::string_view Flag(bool flag) { return flag ? "1" : "0"; }

v1::SessionLookup::Reason ReasonOfMiss(const absl::Status& miss) {
  switch (ReasonOf(miss)) {
    case v1::DELETED:
      return v1::SessionLookup::DELETED;
    case v1::ARCHIVED:
      return v1::SessionLookup::ARCHIVED;
    default:
      return v1::SessionLookup::NEVER_EXISTED;
  }
}

// Answers for one well-formed id.
void Explain(Aggregate aggregate, bool include_deleted, v1::SessionLookup* result) {
  const absl::Status exists = CheckExists(result->session_id(), aggregate, include_deleted);
  if (exists.ok()) {
    result->set_found(true);
    result->set_reason(v1::SessionLookup::OK);
    *result->mutable_session() = *std::move(aggregate.session);
    return;
  }
  result->set_reason(ReasonOfMiss(exists));
  if (aggregate.session.has_value())
    *result->mutable_since_time() = aggregate.session->delete_time();
  if (aggregate.tombstone.has_value())
    *result->mutable_since_time() = ToProto(aggregate.tombstone->archive_time);
}

}  // namespace

// -------------------------------------------------------------------------------------------------
// changes

Answer<v1::Session> SessionService::Submit(CallInfo call, Command command) {
  command.caller = call.caller;
  Change change(store_, std::move(command), call.deadline);
  absl::StatusOr<db::Outcome> outcome = co_await change;
  if (!outcome.ok()) co_return outcome.status();
  journal_.Changed(*outcome);
  co_return std::move(outcome->session);
}

Answer<v1::Session> SessionService::CreateSession(CallInfo call, v1::CreateSessionRequest request) {
  const WorkflowCatalog::Entry workflow = store_.catalog().Newest(request.session().workflow());
  if (workflow == nullptr)
    co_return UnknownWorkflow(request.session().workflow(), store_.catalog().Names());
  if (!request.session_id().empty()) {
    const absl::Status format =
        CheckSessionId(request.session_id(), workflow->definition().id_format());
    if (!format.ok()) co_return format;
  }
  for (int draw = 1;; ++draw) {
    Command command{.request = request,
                    .request_id = request.request_id(),
                    .session_id = request.session_id(),
                    .workflow = workflow};
    absl::StatusOr<v1::Session> created = co_await Submit(call, std::move(command));
    const bool taken =
        ReasonOf(created.status()) == v1::SESSION_EXISTS && request.session_id().empty();
    if (!taken || draw == kDrawsMax) co_return created;
  }
}

template <class Request>
Answer<v1::Session> SessionService::ChangeSession(CallInfo call, Request request) {
  Command command{.request_id = request.request_id()};
  if constexpr (std::is_same_v<Request, v1::UpdateSessionRequest>) {
    command.session_id = request.session().session_id();
  } else {
    command.session_id = request.session_id();
  }
  command.request = std::move(request);
  co_return co_await Submit(std::move(call), std::move(command));
}

template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::ActivateSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::AdvanceSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::PauseSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::ResumeSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::StopSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::FailSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::DeleteSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::UndeleteSessionRequest);
template Answer<v1::Session> SessionService::ChangeSession(CallInfo, v1::UpdateSessionRequest);

// -------------------------------------------------------------------------------------------------
// reads

Answer<v1::Session> SessionService::GetSession(CallInfo call, v1::GetSessionRequest request) {
  Read read(store_, {request.session_id()}, call.deadline);
  auto found = co_await read;
  if (!found.ok()) co_return found.status();
  Aggregate& aggregate = found->front();
  const absl::Status exists =
      CheckExists(request.session_id(), aggregate, request.include_deleted());
  if (!exists.ok()) co_return exists;
  co_return *std::move(aggregate.session);
}

Answer<v1::LookupSessionsResponse> SessionService::LookupSessions(
    CallInfo call, v1::LookupSessionsRequest request) {
  // What is malformed never reaches the database; what is asked for twice is read once.
  std::vector<std::string> ids;
  for (const std::string& id : request.session_ids()) {
    if (IsSessionId(id)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  absl::StatusOr<std::vector<Aggregate>> found = std::vector<Aggregate>();
  if (!ids.empty()) {
    Read read(store_, ids, call.deadline);
    found = co_await read;
  }
  if (!found.ok()) co_return found.status();

  v1::LookupSessionsResponse response;
  for (const std::string& id : request.session_ids()) {
    v1::SessionLookup* result = response.add_results();
    result->set_session_id(id);
    if (!IsSessionId(id)) {
      result->set_reason(v1::SessionLookup::INVALID_FORMAT);
      continue;
    }
    const std::size_t index = std::lower_bound(ids.begin(), ids.end(), id) - ids.begin();
    Explain((*found)[index], request.include_deleted(), result);
  }
  co_return response;
}

Answer<v1::ListSessionsResponse> SessionService::ListSessions(CallInfo call,
                                                              v1::ListSessionsRequest request) {
  absl::StatusOr<Filter> filter = ParseFilter(request.filter());
  if (!filter.ok()) co_return filter.status();
  const absl::StatusOr<Order> order = ParseOrder(request.order_by());
  if (!order.ok()) co_return order.status();
  const std::string name = NamespaceOf(request.namespace_());
  const std::vector<absl::string_view> bound = {
      "ListSessions", name, request.filter(), request.order_by(), Flag(request.include_deleted())};
  std::optional<db::SessionPageKey> after;
  if (!request.page_token().empty()) {
    const auto values = store_.page_tokens().Open(bound, request.page_token());
    if (!values.ok()) co_return values.status();
    after = db::ParsePageKey(*order, *values);
    if (!after.has_value()) co_return NoPageKey();
  }
  const db::SessionSelection selection{.namespace_name = name,
                                       .filter = *std::move(filter),
                                       .include_deleted = request.include_deleted(),
                                       .partition_count = store_.partition_count()};
  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(), db::ListSessionsSql(selection, *order, after, page_size),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();

  v1::ListSessionsResponse response;
  if (db::ReadSessionPage(*result, page_size, &response)) {
    response.set_next_page_token(
        store_.page_tokens().Make(bound, db::PageKeyValues(*order, *response.sessions().rbegin())));
  }
  for (v1::Session& session : *response.mutable_sessions()) {
    const auto workflow = store_.catalog().Find(session.workflow(), session.workflow_revision());
    if (workflow != nullptr) Present(*workflow, absl::Now(), &session);
  }
  co_return response;
}

Answer<v1::CountSessionsResponse> SessionService::CountSessions(CallInfo call,
                                                                v1::CountSessionsRequest request) {
  absl::StatusOr<Filter> filter = ParseFilter(request.filter());
  if (!filter.ok()) co_return filter.status();
  const db::SessionSelection selection{.namespace_name = NamespaceOf(request.namespace_()),
                                       .filter = *std::move(filter),
                                       .include_deleted = request.include_deleted(),
                                       .partition_count = store_.partition_count()};
  Query query(store_.counts(), db::CountSessionsSql(selection, request.group_by()), call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::CountSessionsResponse response;
  db::ReadCounts(*result, &response);
  co_return response;
}

Answer<v1::ListSessionEventsResponse> SessionService::ListSessionEvents(
    CallInfo call, v1::ListSessionEventsRequest request) {
  const std::vector<absl::string_view> bound = {"ListSessionEvents", request.session_id(),
                                                Flag(request.include_deleted())};
  int32_t after_sequence = 0;
  if (!request.page_token().empty()) {
    const auto values = store_.page_tokens().Open(bound, request.page_token());
    if (!values.ok()) co_return values.status();
    if (values->size() != 1 || !absl::SimpleAtoi(values->front(), &after_sequence))
      co_return NoPageKey();
  }
  Read read(store_, {request.session_id()}, call.deadline);
  const auto found = co_await read;
  if (!found.ok()) co_return found.status();
  const absl::Status exists =
      CheckExists(request.session_id(), found->front(), request.include_deleted());
  if (!exists.ok()) co_return exists;

  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(),
              db::ListSessionEventsSql(request.session_id(), store_.partition_count(),
                                       after_sequence, page_size),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::ListSessionEventsResponse response;
  if (db::ReadEventPage(*result, page_size, &response)) {
    const std::vector<std::string> last = {absl::StrCat(response.events().rbegin()->sequence())};
    response.set_next_page_token(store_.page_tokens().Make(bound, last));
  }
  co_return response;
}

}  // namespace sessiond::rpc
