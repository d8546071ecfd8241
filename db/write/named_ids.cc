#include "db/write/named_ids.h"

#include <type_traits>
#include <variant>

namespace sessiond::db {
namespace {

template <class T, class... Others>
constexpr bool kIsOneOf = (std::is_same_v<T, Others> || ...);

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
          if (command.completes <= 0) return;  // No session could have any.
          for (const auto& artifact : typed.artifacts())
            Name(artifact.artifact_id(), &named.artifacts);
          for (const auto& error : typed.errors()) Name(error.error_id(), &named.errors);
        }
      },
      command.request);
  return named;
}

}  // namespace sessiond::db
