#include "server/rpc/session_service.h"

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "db/query/session_queries.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/reads.h"
#include "state_machine/filter.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

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
void Explain(const db::FoundSession& found, bool include_deleted, v1::SessionLookup* result) {
  const absl::Status exists = CheckFound(result->session_id(), found, include_deleted);
  if (exists.ok()) {
    result->set_found(true);
    result->set_reason(v1::SessionLookup::OK);
    result->mutable_session()->ParseFromString(found.session->bytes);
    return;
  }
  result->set_reason(ReasonOfMiss(exists));
  const Aggregate aggregate = found.ToAggregate();
  if (aggregate.session.has_value())
    *result->mutable_since_time() = aggregate.session->delete_time();
  if (aggregate.tombstone.has_value())
    *result->mutable_since_time() = ToProto(aggregate.tombstone->archive_time);
}

std::vector<v1::Session*> Pointers(db::Sessions* sessions) {
  return {sessions->pointer_begin(), sessions->pointer_end()};
}

}  // namespace

// -------------------------------------------------------------------------------------------------
// changes

Answer<v1::Session> SessionService::CreateSession(CallInfo call, v1::CreateSessionRequest request) {
  WorkflowCatalog::Entry workflow = store_.catalog().Newest(request.session().workflow());
  if (workflow == nullptr) {
    // Another daemon may have created it a moment ago.
    Refresh refresh(store_, call.deadline);
    if (const absl::Status refreshed = co_await refresh; !refreshed.ok()) co_return refreshed;
    workflow = store_.catalog().Newest(request.session().workflow());
  }
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
    auto created = co_await changes_.Submit(call, std::move(command));
    if (created.ok()) co_return std::move(created->session);
    const bool taken =
        ReasonOf(created.status()) == v1::SESSION_EXISTS && request.session_id().empty();
    if (!taken || draw == kDrawsMax) co_return created.status();
  }
}

// -------------------------------------------------------------------------------------------------
// reads

Answer<Serialized<v1::Session>> SessionService::GetSession(CallInfo call,
                                                           v1::GetSessionRequest request) {
  if (request.view() == v1::GetSessionRequest::FULL)
    co_return co_await GetFullSession(std::move(call), std::move(request));
  co_return co_await FindSession(store_, request.session_id(), request.include_deleted(),
                                 call.deadline);
}

Answer<Serialized<v1::Session>> SessionService::GetFullSession(CallInfo call,
                                                               v1::GetSessionRequest request) {
  Queries queries(store_.queries(),
                  db::GetFullSessionSql(request.session_id(), store_.partition_count()),
                  call.deadline);
  const auto results = co_await queries;
  if (!results.ok()) co_return results.status();
  Aggregate aggregate = db::ReadFullSession(*results);
  const absl::Status exists =
      CheckExists(request.session_id(), aggregate, request.include_deleted());
  if (!exists.ok()) co_return exists;
  v1::Session& session = *aggregate.session;
  const std::vector<v1::Session*> found = {&session};
  const absl::Status presented = co_await PresentSessions(store_, found, call.deadline);
  if (!presented.ok()) co_return presented;
  co_return Serialized<v1::Session>::Of(session);
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
  absl::StatusOr<std::vector<db::FoundSession>> found = std::vector<db::FoundSession>();
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
  const Pages pages(store_, {"ListSessions", name, request.filter(), request.order_by(),
                             Part(request.include_deleted())});
  const auto after =
      pages.After(request.page_token(), [&order](const std::vector<std::string>& values) {
        return db::ParsePageKey(*order, values);
      });
  if (!after.ok()) co_return after.status();
  const db::SessionSelection selection{.namespace_name = name,
                                       .filter = *std::move(filter),
                                       .include_deleted = request.include_deleted(),
                                       .partition_count = store_.partition_count()};
  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(), db::ListSessionsSql(selection, *order, *after, page_size),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();

  v1::ListSessionsResponse response;
  if (db::ReadSessionPage(*result, page_size, response.mutable_sessions())) {
    response.set_next_page_token(
        pages.TokenOf(db::PageKeyValues(*order, *response.sessions().rbegin())));
  }
  const absl::Status presented =
      co_await PresentSessions(store_, Pointers(response.mutable_sessions()), call.deadline);
  if (!presented.ok()) co_return presented;
  co_return response;
}

Answer<v1::ListRecoverableSessionsResponse> SessionService::ListRecoverableSessions(
    CallInfo call, v1::ListRecoverableSessionsRequest request) {
  Query query(store_.queries(),
              db::ListRecoverableSessionsSql(NamespaceOf(request.namespace_()), request.owner_id()),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::ListRecoverableSessionsResponse response;
  db::ReadSessionPage(*result, kPageSizeMax, response.mutable_sessions());
  journal_.RecoverableListed(request.owner_id(), response.sessions_size());
  const absl::Status presented =
      co_await PresentSessions(store_, Pointers(response.mutable_sessions()), call.deadline);
  if (!presented.ok()) co_return presented;
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
  const Pages pages(store_,
                    {"ListSessionEvents", request.session_id(), Part(request.include_deleted())});
  const auto after = pages.After(request.page_token(), ParseSequence);
  if (!after.ok()) co_return after.status();
  const auto session =
      co_await FindSession(store_, request.session_id(), request.include_deleted(), call.deadline);
  if (!session.ok()) co_return session.status();

  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(),
              db::ListSessionEventsSql(request.session_id(), store_.partition_count(),
                                       after->value_or(0), page_size),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::ListSessionEventsResponse response;
  if (db::ReadEventPage(*result, page_size, &response)) {
    const int32_t last = response.events().rbegin()->sequence();
    response.set_next_page_token(pages.TokenOf({absl::StrCat(last)}));
  }
  co_return response;
}

}  // namespace sessiond::rpc
