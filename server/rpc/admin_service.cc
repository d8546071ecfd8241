#include "server/rpc/admin_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/list_page.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond::rpc {
namespace {

constexpr std::size_t kPreviewMax = 100;

using Outcomes = std::vector<absl::StatusOr<db::Outcome>>;

// The number of sessions in a batch that were changed.
int Affected(const Outcomes& outcomes) {
  return static_cast<int>(std::count_if(outcomes.begin(), outcomes.end(), [](const auto& outcome) {
    return outcome.ok() && !outcome->events.empty();
  }));
}

// The first error that the next batch would have too: not that a session has been held, or is gone,
// since it was found.
absl::Status TroubleOf(const Outcomes& outcomes) {
  for (const auto& outcome : outcomes) {
    switch (ReasonOf(outcome.status())) {
      case v1::HOLD_ACTIVE:
      case v1::ARCHIVED:
      case v1::NEVER_EXISTED:
        continue;
      default:
        if (!outcome.ok()) return outcome.status();
    }
  }
  return absl::OkStatus();
}

// Who calls, and what that one may do.
void DescribeCaller(const CallInfo& call, v1::GetServerInfoResponse* response) {
  response->set_caller(call.caller());
  if (call.principal == nullptr) return;
  for (const std::string& role : call.principal->roles) response->add_roles(role);
  for (const auto* method : call.principal->permissions->methods)
    response->add_methods(absl::StrCat(method->service()->full_name(), "/", method->name()));
  std::sort(response->mutable_methods()->begin(), response->mutable_methods()->end());
  for (std::string& name : call.principal->scope.Namespaces())
    response->add_namespaces(std::move(name));
  response->set_owner_id(call.principal->scope.owner_id().value_or(""));
}

}  // namespace

Answer<v1::EraseOwnerResponse> AdminService::EraseOwner(CallInfo call,
                                                        v1::EraseOwnerRequest request) {
  const std::string name = NamespaceOf(request.namespace_());
  const auto batch = co_await store_.FindOwnedSessions(name, request.owner_id(), call.asker);
  if (!batch.ok()) co_return batch.status();
  const Outcomes outcomes = co_await changes_.MakeEach(call, batch->session_ids, request);
  if (auto trouble = TroubleOf(outcomes); !trouble.ok()) co_return trouble;
  const auto forgotten = co_await store_.ForgetOwner(name, request.owner_id(), call.asker);
  if (!forgotten.ok()) co_return forgotten.status();
  v1::EraseOwnerResponse response;
  response.set_affected_count(Affected(outcomes));
  response.set_done(batch->due <= static_cast<int>(batch->session_ids.size()));
  response.set_held_count(batch->held);
  journal_.Erased(response.affected_count(), response.done());
  co_return response;
}

Answer<v1::DetachReferenceResponse> AdminService::DetachReference(
    CallInfo call, v1::DetachReferenceRequest request) {
  const auto batch = co_await store_.FindReferencingSessions(
      NamespaceOf(request.namespace_()), request.name(), request.value(), call.asker);
  if (!batch.ok()) co_return batch.status();
  const Outcomes outcomes = co_await changes_.MakeEach(call, batch->session_ids, request);
  if (auto trouble = TroubleOf(outcomes); !trouble.ok()) co_return trouble;
  v1::DetachReferenceResponse response;
  response.set_affected_count(Affected(outcomes));
  response.set_done(batch->due <= static_cast<int>(batch->session_ids.size()));
  co_return response;
}

Answer<v1::PurgeSessionsResponse> AdminService::PurgeSessions(CallInfo call,
                                                              v1::PurgeSessionsRequest request) {
  const auto batch = co_await store_.FindDueSessions(NamespaceOf(request.namespace_()),
                                                     request.workflow(), call.asker);
  if (!batch.ok()) co_return batch.status();
  v1::PurgeSessionsResponse response;
  response.set_due_count(batch->due);
  response.set_held_count(batch->held);
  for (const std::string& id : batch->session_ids) {
    if (static_cast<std::size_t>(response.session_ids_size()) < kPreviewMax)
      response.add_session_ids(id);
  }
  response.set_done(batch->due == 0);
  if (!request.execute()) co_return response;
  const Outcomes outcomes = co_await changes_.MakeEach(call, batch->session_ids, request);
  if (auto trouble = TroubleOf(outcomes); !trouble.ok()) co_return trouble;
  response.set_purged_count(Affected(outcomes));
  response.set_done(batch->due <= static_cast<int>(batch->session_ids.size()));
  journal_.Purged(response.purged_count(), response.held_count());
  co_return response;
}

Awaitable<absl::Status> AdminService::ImportSessions(CallInfo call, ImportStream& stream) {
  return RunImport(store_, journal_, std::move(call), stream);
}

Answer<v1::GetServerInfoResponse> AdminService::GetServerInfo(CallInfo call,
                                                              v1::GetServerInfoRequest) {
  const auto info = co_await store_.GetDatabaseInfo(call.asker.deadline);
  if (!info.ok()) co_return info.status();
  v1::GetServerInfoResponse response;
  response.set_version(SESSIOND_VERSION);
  *response.mutable_start_time() = ToProto(started_);
  response.set_database_id(info->database_id);
  response.set_schema_version(info->schema_version);
  response.set_partition_count(store_.partition_count());
  response.set_postgres_version(info->postgres_version);
  for (const std::string& name : store_.catalog().Names()) response.add_workflows(name);
  DescribeCaller(call, &response);
  co_return response;
}

}  // namespace sessiond::rpc
