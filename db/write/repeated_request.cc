#include "db/write/repeated_request.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "state_machine/preconditions.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

// What a request answers with, besides the session.
enum class Answers { kSession, kTask, kError, kArtifacts, kMessages };

// By the RPC's reply: the session, unless it is listed here.
template <class Reply>
constexpr Answers kAnswersOf = Answers::kSession;
template <>
constexpr Answers kAnswersOf<v1::SessionTask> = Answers::kTask;
template <>
constexpr Answers kAnswersOf<v1::SessionError> = Answers::kError;
template <>
constexpr Answers kAnswersOf<v1::AddArtifactsResponse> = Answers::kArtifacts;
template <>
constexpr Answers kAnswersOf<v1::AppendMessagesResponse> = Answers::kMessages;

// No id contains it: artifacts' ids have no control characters, all others are UUIDs.
constexpr char kSeparator = '\n';

Answers AnswersWith(const Request& request) {
  static constexpr Answers kByVerb[] = {
#define VERB(call, reply) kAnswersOf<v1::reply>,
#include "state_machine/verbs.inc"
  };
  return kByVerb[request.index()];
}

std::vector<std::string> Split(const std::string& answer) {
  return absl::StrSplit(answer, kSeparator);
}

absl::Status RequestIdReused(const std::string& request_id) {
  return Refusal(v1::REQUEST_ID_REUSED,
                 absl::StrCat(
                     "The request_id \"", request_id,
                     "\" was used for another request within the last 24 hours. Draw a new one."))
      .With("request_id", request_id)
      .Violation("request_id", "was used with another method or payload");
}

absl::Status RunWasReplaced(const std::string& task_id, const v1::Session& session) {
  return Refusal(v1::STALE_TASK,
                 absl::StrCat("The request was carried out, and the run it was about, ", task_id,
                              ", has been replaced since."))
      .With("task_id", task_id)
      .With("current_task_id", session.current_task().task_id());
}

}  // namespace

std::string WriteAnswer(const Request& request, const Outcome& outcome) {
  const std::string separator(1, kSeparator);
  switch (AnswersWith(request)) {
    case Answers::kSession:
      return "";
    case Answers::kTask:
      return outcome.session.current_task().task_id();
    case Answers::kError:
      return outcome.errors.front().error_id();
    case Answers::kArtifacts:
      return absl::StrJoin(outcome.artifacts, separator,
                           [](std::string* out, const v1::SessionArtifact& artifact) {
                             out->append(artifact.artifact_id());
                           });
    case Answers::kMessages:
      return absl::StrCat(outcome.first_sequence, separator, outcome.last_sequence);
  }
  return "";
}

NamedIds NamedByAnswer(const Request& request, const std::string& answer) {
  switch (AnswersWith(request)) {
    case Answers::kError:
      return {.errors = {answer}};
    case Answers::kArtifacts:
      return {.artifacts = Split(answer)};
    default:
      return {};
  }
}

absl::StatusOr<Outcome> AnswerRepetition(const Submission& submission, const DoneRequest& request,
                                         const Aggregate& aggregate, absl::Time now,
                                         Outcome outcome) {
  if (request.fingerprint != submission.fingerprint)
    return RequestIdReused(submission.command.request_id);
  if (auto exists = CheckExists(request.session_id, aggregate, submission.command.scope,
                                /*include_deleted=*/true);
      !exists.ok()) {
    return exists;
  }
  switch (AnswersWith(submission.command.request)) {
    case Answers::kSession:
      break;
    case Answers::kTask:
      if (outcome.session.current_task().task_id() != request.answer)
        return RunWasReplaced(request.answer, outcome.session);
      break;
    case Answers::kError:
      if (const auto found = aggregate.errors.find(request.answer); found != aggregate.errors.end())
        Present(now, &outcome.errors.emplace_back(found->second));
      break;
    case Answers::kArtifacts:
      for (const std::string& id : Split(request.answer)) {
        const auto found = aggregate.artifacts.find(id);
        if (found != aggregate.artifacts.end()) outcome.artifacts.push_back(found->second);
      }
      break;
    case Answers::kMessages:
      if (const auto sequences = Split(request.answer);
          sequences.size() != 2 || !absl::SimpleAtoi(sequences[0], &outcome.first_sequence) ||
          !absl::SimpleAtoi(sequences[1], &outcome.last_sequence)) {
        outcome.first_sequence = outcome.last_sequence = 0;
      }
      break;
  }
  return outcome;
}

}  // namespace sessiond::db
