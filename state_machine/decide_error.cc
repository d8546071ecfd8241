// Errors: what went wrong, and whether it was fixed. Each change of an error also updates the count
// of the session's blocking errors.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {

using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;

namespace {

absl::Status CheckLink(const Context& context, const std::string& artifact_id,
                       SessionArtifact::Kind kind) {
  if (artifact_id.empty()) return absl::OkStatus();
  const auto& artifacts = context.aggregate.artifacts;
  const auto found = artifacts.find(artifact_id);
  if (found != artifacts.end() && found->second.kind() == kind) return absl::OkStatus();
  const std::string name = SessionArtifact::Kind_Name(kind);
  return Refusal(v1::ARTIFACT_NOT_FOUND,
                 absl::StrCat("The session has no artifact \"", artifact_id, "\" of kind ", name,
                              ". Add it first (AddArtifacts), or leave the link out."))
      .With("session_id", context.command.session_id)
      .With("artifact_id", artifact_id)
      .With("kind", name)
      .Resource("artifact", artifact_id);
}

}  // namespace

absl::Status CheckError(const Context& context, const SessionError& given, absl::string_view path) {
  const std::string& stage = given.operation_stage();
  if (!stage.empty() && context.workflow.FindStage(stage) == nullptr) {
    return InvalidFields({{absl::StrCat(path, ".operation_stage"),
                           absl::StrCat("is not a stage of workflow ", context.workflow.name(),
                                        "; leave it empty for the session's present one")}});
  }
  if (auto file = CheckLink(context, given.related_file_id(), SessionArtifact::FILE); !file.ok())
    return file;
  return CheckLink(context, given.related_ticket_id(), SessionArtifact::TICKET);
}

void RecordError(EventRecorder& recorder, const SessionError& given) {
  SessionError error = given;
  if (error.operation_stage().empty()) error.set_operation_stage(recorder.session().stage());
  // OUTPUT ONLY.
  error.clear_error_id();
  error.clear_age();
  error.clear_resolve_time();
  error.clear_resolver();
  error.clear_resolution();
  Changes changes;
  recorder.Add(std::move(error), recorder.now(), changes);
  recorder.Record(SessionEvent::ERROR_RECORDED, std::move(changes));
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::RecordErrorRequest& request) {
  if (auto begin = context.Begin(Call::kRecordError, request.etag()); !begin.ok()) return begin;
  if (auto fits = CheckError(context, request.error(), "error"); !fits.ok()) return fits;
  EventRecorder recorder = context.Open();
  RecordError(recorder, request.error());
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::ResolveErrorRequest& request) {
  if (auto begin = context.Begin(Call::kResolveError, request.etag()); !begin.ok()) return begin;
  const auto found = context.aggregate.errors.find(request.error_id());
  if (found == context.aggregate.errors.end()) {
    return ErrorNotFound(context.command.session_id, request.error_id());
  }
  const SessionError& error = found->second;
  if (error.has_resolve_time()) {
    const std::string when = ToRfc3339(FromProto(error.resolve_time()));
    return Refusal(v1::ALREADY_RESOLVED,
                   absl::StrCat("The error was resolved at ", when, " by ", error.resolver(), "."))
        .With("error_id", error.error_id())
        .With("resolve_time", when)
        .Precondition("ERROR", error.error_id(), "is resolved already");
  }
  EventRecorder recorder = context.Open();
  Changes changes;
  recorder.Resolve(error, request.resolution(), changes);
  recorder.Record(SessionEvent::ERROR_RESOLVED, std::move(changes));
  return std::move(recorder).Close();
}

absl::Status ErrorNotFound(const std::string& session_id, const std::string& error_id) {
  return Refusal(v1::ERROR_NOT_FOUND,
                 absl::StrCat("Session ", session_id, " has no error ", error_id, "."))
      .With("session_id", session_id)
      .With("error_id", error_id)
      .Resource("error", error_id);
}

}  // namespace sessiond
