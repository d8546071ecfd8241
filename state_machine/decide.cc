#include "state_machine/decide.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "state_machine/limits.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {

using v1::SessionError;

namespace {

// What could never be told would end every watch of it, and hide the session's history.
absl::Status CheckEventsFit(const Decision& decision) {
  for (const v1::SessionEvent& event : decision.events) {
    const std::size_t size = event.ByteSizeLong();
    if (size <= kEventBytesMax) continue;
    return Refusal(v1::PAYLOAD_TOO_LARGE,
                   absl::StrCat("The event of this would have ", size, " bytes, and may have ",
                                kEventBytesMax, ": bring it in several parts."))
        .With("size", absl::StrCat(size))
        .With("limit", absl::StrCat(kEventBytesMax));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Decision> Decide(const Workflow& workflow, const Aggregate& aggregate,
                                const Command& command, absl::Time now) {
  const Context context{workflow, aggregate, command, now};
  auto decision =
      std::visit([&](const auto& request) { return Decide(context, request); }, command.request);
  // Nobody moves a session to where they cannot see it.
  if (decision.ok() && decision->end == Decision::End::kNone) {
    if (auto allowed = CheckInScope(command.scope, decision->session); !allowed.ok())
      return allowed;
  }
  if (decision.ok()) {
    if (absl::Status fit = CheckEventsFit(*decision); !fit.ok()) return fit;
  }
  return decision;
}

void Apply(Decision& decision, Aggregate* aggregate) {
  if (decision.end != Decision::End::kNone) {
    Tombstone tombstone{.archive_time = FromProto(decision.session.update_time())};
    if (aggregate->session.has_value()) {
      tombstone.namespace_name = aggregate->session->namespace_();
      if (decision.end == Decision::End::kArchived)
        tombstone.owner_id = aggregate->session->owner_id();
    }
    *aggregate = Aggregate{.tombstone = std::move(tombstone)};
    return;
  }
  if (decision.task_changed) aggregate->used_ids.insert(decision.session.current_task().task_id());
  aggregate->session = std::move(decision.session);
  aggregate->blocking = std::move(decision.blocking);
  for (const NewMessage& message : decision.messages) {
    if (message.id_brought) aggregate->used_ids.insert(message.message.message_id());
  }
  for (SessionError& error : decision.errors) {
    const std::string id = error.error_id();
    aggregate->errors[id] = std::move(error);
  }
  for (auto& artifact : decision.artifacts) {
    const std::string id = artifact.artifact_id();
    aggregate->artifacts[id] = std::move(artifact);
  }
  for (const std::string& id : decision.deleted_artifacts) {
    aggregate->artifacts.erase(id);
    for (auto& [error_id, error] : aggregate->errors) {
      if (error.related_file_id() == id) error.clear_related_file_id();
      if (error.related_ticket_id() == id) error.clear_related_ticket_id();
    }
  }
}

}  // namespace sessiond
