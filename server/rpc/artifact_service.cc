#include "server/rpc/artifact_service.h"

#include <utility>

#include "db/query/artifact_queries.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/reads.h"

namespace sessiond::rpc {

Answer<v1::ListArtifactsResponse> ArtifactService::ListArtifacts(CallInfo call,
                                                                 v1::ListArtifactsRequest request) {
  const Pages pages(store_, {"ListArtifacts", request.session_id(), Part(request.kind()),
                             Part(request.include_deleted())});
  const auto after = pages.After(request.page_token(), db::ParseTimeKey);
  if (!after.ok()) co_return after.status();
  const auto session =
      co_await FindSession(store_, request.session_id(), request.include_deleted(), call.deadline);
  if (!session.ok()) co_return session.status();

  const int page_size = PageSize(request.page_size());
  Query query(store_.queries(),
              db::ListArtifactsSql(request.session_id(), store_.partition_count(), request.kind(),
                                   *after, page_size),
              call.deadline);
  const absl::StatusOr<db::Result> result = co_await query;
  if (!result.ok()) co_return result.status();
  v1::ListArtifactsResponse response;
  if (db::ReadArtifactPage(*result, page_size, &response)) {
    response.set_next_page_token(
        pages.TokenOf(db::KeyValues(db::KeyOf(*response.artifacts().rbegin()))));
  }
  co_return response;
}

}  // namespace sessiond::rpc
