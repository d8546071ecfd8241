// One session's part of work on many sessions: archiving, erasure, detaching. If it is no longer
// due, because another command did it first, the decision is empty.
#include <utility>

#include "absl/strings/str_cat.h"
#include "state_machine/preconditions.h"
#include "state_machine/timestamps.h"

namespace sessiond {

using v1::Session;
using v1::SessionEvent;

namespace {

absl::Status CheckThere(const Context& context) {
  return CheckExists(context.command.session_id, context.aggregate, context.command.scope,
                     /*include_deleted=*/true);
}

}  // namespace

absl::StatusOr<Decision> Decide(const Context& context, const v1::PurgeSessionsRequest&) {
  if (auto there = CheckThere(context); !there.ok()) return there;
  const Session& session = context.session();
  if (session.hold()) return HoldActive(session.session_id(), "purged");
  EventRecorder recorder = context.Open();
  if (session.has_purge_time() && FromProto(session.purge_time()) <= context.now)
    recorder.RecordEnd(Decision::End::kArchived);
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::EraseOwnerRequest& request) {
  if (auto there = CheckThere(context); !there.ok()) return there;
  const Session& session = context.session();
  if (session.hold()) return HoldActive(session.session_id(), "erased");
  EventRecorder recorder = context.Open();
  if (session.owner_id() == request.owner_id()) recorder.RecordEnd(Decision::End::kErased);
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::DetachReferenceRequest& request) {
  if (auto there = CheckThere(context); !there.ok()) return there;
  EventRecorder recorder = context.Open();
  const auto& references = context.session().references();
  const auto found = references.find(request.name());
  if (found == references.end() || found->second != request.value())
    return std::move(recorder).Close();
  recorder.Record(SessionEvent::REFERENCE_DETACHED,
                  Changes().Set(absl::StrCat("references.", request.name()), NullValue()));
  return std::move(recorder).Close();
}

}  // namespace sessiond
