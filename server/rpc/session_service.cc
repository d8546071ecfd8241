#include "server/rpc/session_service.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/list_page.h"
#include "state_machine/filter.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond::rpc {
namespace {

// When a drawn id is taken, a new one is drawn, up to this often: with 32 random bits a second,
// even two collisions are rare.
constexpr int kDrawsMax = 5;

// How many sessions a look-up reads at a time: at first, and then so many bytes, if the next are as
// large as the last ones were. They may be larger.
constexpr std::size_t kLookedUpAtFirst = 32;
constexpr std::size_t kLookedUpAtMost = 128;
constexpr std::size_t kBytesLookedUp = 1 << 20;
// So many of the largest fit into a reply.
constexpr std::size_t kLargeSessionsOfReply = 64;

absl::Status TooManySessions(std::size_t bytes) {
  return Refusal(v1::PAYLOAD_TOO_LARGE,
                 absl::StrCat("The reply has more than ", bytes - 1, " bytes, and may have ",
                              kMessageBytesMax, ": look up fewer sessions at a time."))
      .With("size", absl::StrCat(bytes))
      .With("limit", absl::StrCat(kMessageBytesMax));
}

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

// The result for one well-formed id.
void Explain(const db::FoundSession& found, bool include_deleted, v1::SessionLookup* result) {
  const absl::Status exists = found.Check(result->session_id(), include_deleted);
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

}  // namespace

// -------------------------------------------------------------------------------------------------
// changes

Answer<v1::Session> SessionService::CreateSession(CallInfo call, v1::CreateSessionRequest request) {
  const auto workflow =
      co_await store_.FindNewestWorkflow(request.session().workflow(), call.asker.deadline);
  if (!workflow.ok()) co_return workflow.status();
  if (*workflow == nullptr)
    co_return UnknownWorkflow(request.session().workflow(), store_.catalog().Names());
  if (!request.session_id().empty()) {
    const absl::Status format =
        CheckSessionId(request.session_id(), (*workflow)->definition().id_format());
    if (!format.ok()) co_return format;
  }
  for (int draw = 1;; ++draw) {
    Command command{.request = request,
                    .request_id = request.request_id(),
                    .session_id = request.session_id(),
                    .workflow = *workflow};
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
  if (request.view() == v1::GetSessionRequest::FULL) {
    const auto full =
        co_await store_.GetFullSession(request.session_id(), request.include_deleted(), call.asker);
    if (!full.ok()) co_return full.status();
    co_return Serialized<v1::Session>::Of(*full);
  }
  const auto found =
      co_await store_.GetSession(request.session_id(), request.include_deleted(), call.asker);
  if (!found.ok()) co_return found.status();
  co_return Serialized<v1::Session>{std::shared_ptr<const std::string>(*found, &(*found)->bytes)};
}

Answer<v1::LookupSessionsResponse> SessionService::LookupSessions(
    CallInfo call, v1::LookupSessionsRequest request) {
  v1::LookupSessionsResponse response;
  // Malformed ids never reach the database; repeated ones are read once.
  std::map<std::string, std::vector<v1::SessionLookup*>> asked;
  for (const std::string& id : request.session_ids()) {
    v1::SessionLookup* result = response.add_results();
    result->set_session_id(id);
    if (IsSessionId(id)) {
      asked[id].push_back(result);
    } else {
      result->set_reason(v1::SessionLookup::INVALID_FORMAT);
    }
  }
  auto waiting = lookups_.Take(std::min(asked.size(), kLargeSessionsOfReply));
  const Turns::Turn turn = co_await waiting;
  std::size_t bytes = 0;
  std::size_t some = kLookedUpAtFirst;
  for (auto next = asked.begin(); next != asked.end();) {
    std::vector<std::string> ids;
    for (auto end = next; end != asked.end() && ids.size() < some; ++end) ids.push_back(end->first);
    const auto found = co_await store_.LookupSessions(std::move(ids), call.asker);
    if (!found.ok()) co_return found.status();
    std::size_t bytes_found = 0;
    for (const db::FoundSession& each : *found) {
      for (v1::SessionLookup* result : (next++)->second) {
        Explain(each, request.include_deleted(), result);
        if (!result->found()) continue;
        bytes_found += each.session->bytes.size();
        if (bytes + bytes_found > kMessageBytesMax) co_return TooManySessions(bytes + bytes_found);
      }
    }
    bytes += bytes_found;
    some = std::clamp(kBytesLookedUp * found->size() / (bytes_found + 1), kLookedUpAtFirst,
                      kLookedUpAtMost);
  }
  co_return response;
}

Answer<v1::ListSessionsResponse> SessionService::ListSessions(CallInfo call,
                                                              v1::ListSessionsRequest request) {
  auto filter = ParseFilter(request.filter());
  if (!filter.ok()) co_return filter.status();
  const absl::StatusOr<Order> order = ParseOrder(request.order_by());
  if (!order.ok()) co_return order.status();
  db::SessionSelection selection{.namespace_name = NamespaceOf(request.namespace_()),
                                 .filter = *std::move(filter),
                                 .include_deleted = request.include_deleted(),
                                 .order = *order};
  auto page = PageOf(request, {"ListSessions", selection.namespace_name, request.filter(),
                               request.order_by(), Part(request.include_deleted())});
  co_return ReplyOf(co_await store_.List(std::move(selection), std::move(page), call.asker),
                    &v1::ListSessionsResponse::mutable_sessions);
}

Answer<v1::ListRecoverableSessionsResponse> SessionService::ListRecoverableSessions(
    CallInfo call, v1::ListRecoverableSessionsRequest request) {
  auto page = co_await store_.ListRecoverableSessions(NamespaceOf(request.namespace_()),
                                                      request.owner_id(), call.asker);
  if (!page.ok()) co_return page.status();
  v1::ListRecoverableSessionsResponse response;
  response.mutable_sessions()->Swap(&page->rows);
  journal_.RecoverableListed(request.owner_id(), response.sessions_size());
  co_return response;
}

Answer<v1::CountSessionsResponse> SessionService::CountSessions(CallInfo call,
                                                                v1::CountSessionsRequest request) {
  auto filter = ParseFilter(request.filter());
  if (!filter.ok()) co_return filter.status();
  db::SessionSelection selection{.namespace_name = NamespaceOf(request.namespace_()),
                                 .filter = *std::move(filter),
                                 .include_deleted = request.include_deleted()};
  co_return co_await store_.CountSessions(std::move(selection), request.group_by(), call.asker);
}

Answer<v1::ListSessionEventsResponse> SessionService::ListSessionEvents(
    CallInfo call, v1::ListSessionEventsRequest request) {
  auto page =
      PageOf(request, {"ListSessionEvents", request.session_id(), Part(request.include_deleted())});
  db::EventSelection selection{.session_id = request.session_id(),
                               .include_deleted = request.include_deleted()};
  co_return ReplyOf(co_await store_.List(std::move(selection), std::move(page), call.asker),
                    &v1::ListSessionEventsResponse::mutable_events);
}

}  // namespace sessiond::rpc
