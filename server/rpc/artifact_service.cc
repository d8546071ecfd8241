#include "server/rpc/artifact_service.h"

#include <utility>

#include "server/rpc/list_page.h"

namespace sessiond::rpc {

Answer<v1::ListArtifactsResponse> ArtifactService::ListArtifacts(CallInfo call,
                                                                 v1::ListArtifactsRequest request) {
  db::ArtifactSelection selection{.session_id = request.session_id(),
                                  .include_deleted = request.include_deleted(),
                                  .kind = request.kind()};
  auto page = PageOf(request, {"ListArtifacts", request.session_id(), Part(request.kind()),
                               Part(request.include_deleted())});
  co_return ReplyOf(co_await store_.List(std::move(selection), std::move(page), call.asker),
                    &v1::ListArtifactsResponse::mutable_artifacts);
}

}  // namespace sessiond::rpc
