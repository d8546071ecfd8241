// Artifacts: the files and tickets of a session.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"

namespace sessiond {

using v1::SessionArtifact;
using v1::SessionEvent;

absl::StatusOr<Decision> Decide(const Context& context, const v1::AddArtifactsRequest& request) {
  if (auto begin = context.Begin(Call::kAddArtifacts, request.etag()); !begin.ok()) return begin;
  Workflow::Violations violations;
  std::set<std::string> brought;
  for (int i = 0; i < request.artifacts_size(); ++i) {
    const std::string& id = request.artifacts(i).artifact_id();
    const std::string path = absl::StrCat("artifacts[", i, "].artifact_id");
    if (id.empty()) continue;
    if (context.aggregate.artifacts.contains(id))
      violations.emplace_back(path, "is the id of an artifact that the session has already");
    if (!brought.insert(id).second) violations.emplace_back(path, "stands twice in the request");
  }
  if (!violations.empty()) return InvalidFields(violations);

  EventRecorder recorder = context.Open();
  Changes changes;
  for (const SessionArtifact& artifact : request.artifacts())
    recorder.Add(artifact, recorder.now(), changes);
  recorder.Record(SessionEvent::ARTIFACTS_ADDED, std::move(changes));
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::DeleteArtifactRequest& request) {
  if (auto begin = context.Begin(Call::kDeleteArtifact, request.etag()); !begin.ok()) return begin;
  const std::string& id = request.artifact_id();
  if (!context.aggregate.artifacts.contains(id)) {
    return Refusal(v1::ARTIFACT_NOT_FOUND,
                   absl::StrCat("The session has no artifact \"", id, "\"."))
        .With("session_id", context.command.session_id)
        .With("artifact_id", id)
        .Resource("artifact", id);
  }
  EventRecorder recorder = context.Open();
  Changes changes;
  recorder.Delete(id, changes);
  recorder.Record(SessionEvent::ARTIFACT_DELETED, std::move(changes));
  return std::move(recorder).Close();
}

}  // namespace sessiond
