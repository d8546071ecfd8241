#include "db/write/named_ids.h"

#include <type_traits>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace sessiond::db {
namespace {

template <class T, class... Others>
constexpr bool kIsOneOf = (std::is_same_v<T, Others> || ...);

// By what an RPC replies: the session, unless it is said here.
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

// No id has one: artifacts' are without control characters, all others UUIDs.
constexpr char kSeparator = '\n';

void Name(const std::string& id, std::vector<std::string>* ids) {
  if (!id.empty()) ids->push_back(id);
}

void NameLinks(const v1::SessionError& error, NamedIds* named) {
  Name(error.related_file_id(), &named->artifacts);
  Name(error.related_ticket_id(), &named->artifacts);
}

}  // namespace

NamedIds NamedBy(const Command& command) {
  NamedIds named;
  std::visit(
      [&]<class R>(const R& typed) {
        if constexpr (kIsOneOf<R, v1::ResolveErrorRequest>) {
          Name(typed.error_id(), &named.errors);
        } else if constexpr (kIsOneOf<R, v1::RecordErrorRequest, v1::FailTaskRequest>) {
          NameLinks(typed.error(), &named);
        } else if constexpr (kIsOneOf<R, v1::AddArtifactsRequest>) {
          for (const auto& artifact : typed.artifacts())
            Name(artifact.artifact_id(), &named.artifacts);
        } else if constexpr (kIsOneOf<R, v1::DeleteArtifactRequest>) {
          Name(typed.artifact_id(), &named.artifacts);
        } else if constexpr (kIsOneOf<R, v1::AppendMessagesRequest>) {
          for (const auto& message : typed.messages()) Name(message.message_id(), &named.messages);
        } else if constexpr (kIsOneOf<R, v1::StartTaskRequest, v1::RetryTaskRequest>) {
          Name(typed.task_id(), &named.tasks);
        } else if constexpr (kIsOneOf<R, v1::ImportSessionsRequest>) {
          if (command.completes <= 0) return;  // There is no session that could have any.
          for (const auto& artifact : typed.artifacts())
            Name(artifact.artifact_id(), &named.artifacts);
          for (const auto& error : typed.errors()) Name(error.error_id(), &named.errors);
        }
      },
      command.request);
  return named;
}

Answers AnswersWith(const Request& request) {
  static constexpr Answers kByVerb[] = {
#define VERB(call, reply) kAnswersOf<v1::reply>,
#include "state_machine/verbs.inc"
  };
  return kByVerb[request.index()];
}

std::string WriteAnswer(Answers kind, const Outcome& outcome) {
  switch (kind) {
    case Answers::kSession:
      return "";
    case Answers::kTask:
      return outcome.session.current_task().task_id();
    case Answers::kError:
      return outcome.errors.front().error_id();
    case Answers::kArtifacts:
      return absl::StrJoin(outcome.artifacts, std::string(1, kSeparator),
                           [](std::string* out, const v1::SessionArtifact& artifact) {
                             out->append(artifact.artifact_id());
                           });
    case Answers::kMessages:
      return absl::StrCat(outcome.first_sequence, std::string(1, kSeparator),
                          outcome.last_sequence);
  }
  return "";
}

std::vector<std::string> AnswerIds(const std::string& answer) {
  return absl::StrSplit(answer, kSeparator);
}

void ReadMessagesAnswer(const std::string& answer, Outcome* outcome) {
  const std::vector<std::string> sequences = AnswerIds(answer);
  if (sequences.size() != 2) return;
  if (!absl::SimpleAtoi(sequences[0], &outcome->first_sequence) ||
      !absl::SimpleAtoi(sequences[1], &outcome->last_sequence)) {
    outcome->first_sequence = outcome->last_sequence = 0;
  }
}

}  // namespace sessiond::db
