#include "server/rpc/output_only.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/string_view.h"
#include "state_machine/update_mask.h"

namespace sessiond::rpc {
namespace {

// But for the id, which names the session in an update, and the etag, which may stand here instead
// of in the request.
void Drop(v1::Session& session) {
  session.clear_workflow_revision();
  session.clear_state();
  session.clear_stage();
  session.clear_stage_display_name();
  session.clear_next_stage();
  session.clear_status();
  session.clear_fail_time();
  session.clear_fail_reason();
  session.clear_counters();
  session.clear_recoverable();
  session.clear_recover_before_time();
  session.clear_create_time();
  session.clear_update_time();
  session.clear_complete_time();
  session.clear_delete_time();
  session.clear_purge_time();
  session.clear_sequence();
  session.clear_revision();
  session.clear_has_blocking_errors();
  session.clear_current_task();
  session.clear_message_count();
  session.clear_files();
  session.clear_open_errors();
}

void Drop(v1::SessionError& error) {
  error.clear_error_id();
  error.clear_session_id();
  error.clear_create_time();
  error.clear_age();
  error.clear_resolve_time();
  error.clear_resolver();
  error.clear_resolution();
}

bool IsNamed(const std::vector<UpdatePath>& paths, UpdateField field, absl::string_view key = "") {
  return std::any_of(paths.begin(), paths.end(), [&](const UpdatePath& path) {
    return path.field == field && path.key == key;
  });
}

// Keeps those keys of a field that the paths name; all of them where they name the field itself.
template <class Map>
void KeepNamed(const std::vector<UpdatePath>& paths, UpdateField field, Map& map) {
  if (IsNamed(paths, field)) return;
  for (auto entry = map.begin(); entry != map.end();) {
    entry = IsNamed(paths, field, entry->first) ? std::next(entry) : map.erase(entry);
  }
}

}  // namespace

// Asking for a part that is not there would make it: hence the questions.

void DropOutputOnly(v1::CreateSessionRequest& request) {
  if (!request.has_session()) return;
  Drop(*request.mutable_session());
  v1::Session& session = *request.mutable_session();
  session.clear_session_id();
  session.clear_etag();
  // How what was not said is answered.
  if (session.namespace_() == "default") session.clear_namespace_();
  if (session.context().fields().empty()) session.clear_context();
}

void DropOutputOnly(v1::UpdateSessionRequest& request) {
  if (!request.has_session()) return;
  v1::Session& session = *request.mutable_session();
  Drop(session);
  // Nor is input what the mask leaves out: who reads a session, changes a part of it and sends the
  // whole back, sends the rest as it was at that time. A mask that is none names nothing, and is
  // refused later.
  const auto parsed = ParseUpdateMask(request.update_mask());
  const std::vector<UpdatePath> paths = parsed.ok() ? *parsed : std::vector<UpdatePath>();
  session.clear_workflow();
  session.clear_namespace_();
  if (!IsNamed(paths, UpdateField::kOwnerId)) session.clear_owner_id();
  if (!IsNamed(paths, UpdateField::kOwnerDisplayName)) session.clear_owner_display_name();
  if (!IsNamed(paths, UpdateField::kHold)) session.clear_hold();
  if (session.has_context() && !IsNamed(paths, UpdateField::kContext)) {
    KeepNamed(paths, UpdateField::kContext, *session.mutable_context()->mutable_fields());
    if (session.context().fields().empty()) session.clear_context();
  }
  KeepNamed(paths, UpdateField::kReferences, *session.mutable_references());
  KeepNamed(paths, UpdateField::kLabels, *session.mutable_labels());
}

void DropOutputOnly(v1::AddArtifactsRequest& request) {
  for (v1::SessionArtifact& artifact : *request.mutable_artifacts()) {
    artifact.clear_session_id();
    artifact.clear_create_time();
  }
}

void DropOutputOnly(v1::AppendMessagesRequest& request) {
  for (v1::SessionMessage& message : *request.mutable_messages()) {
    message.clear_session_id();
    message.clear_sequence();
    message.clear_create_time();
  }
}

void DropOutputOnly(v1::RecordErrorRequest& request) {
  if (request.has_error()) Drop(*request.mutable_error());
}

void DropOutputOnly(v1::FailTaskRequest& request) {
  if (request.has_error()) Drop(*request.mutable_error());
}

void DropOutputOnly(v1::CreateWorkflowRequest& request) {
  if (request.has_workflow()) request.mutable_workflow()->clear_revision();
}

}  // namespace sessiond::rpc
