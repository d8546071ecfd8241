#include "server/rpc/changes.h"

#include "server/rpc/awaiters.h"

namespace sessiond::rpc {

void MakeReply(db::Outcome& outcome, v1::Session* reply) { *reply = std::move(outcome.session); }

void MakeReply(db::Outcome& outcome, v1::SessionTask* reply) {
  *reply = std::move(*outcome.session.mutable_current_task());
}

void MakeReply(db::Outcome& outcome, v1::SessionError* reply) {
  *reply = std::move(outcome.errors.front());
}

void MakeReply(db::Outcome& outcome, v1::AppendMessagesResponse* reply) {
  reply->set_first_sequence(outcome.first_sequence);
  reply->set_last_sequence(outcome.last_sequence);
  *reply->mutable_session() = std::move(outcome.session);
}

void MakeReply(db::Outcome& outcome, v1::AddArtifactsResponse* reply) {
  for (v1::SessionArtifact& artifact : outcome.artifacts)
    *reply->add_artifacts() = std::move(artifact);
}

void MakeReply(db::Outcome& outcome, v1::DeleteArtifactResponse* reply) {
  *reply->mutable_session() = std::move(outcome.session);
}

Answer<db::Outcome> Changes::Submit(CallInfo call, Command command) {
  command.caller = call.caller();
  command.scope = call.asker.scope;
  Change change(store_, std::move(command), call.asker.deadline);
  absl::StatusOr<db::Outcome> outcome = co_await change;
  if (outcome.ok()) journal_.Changed(*outcome);
  co_return outcome;
}

Awaitable<std::vector<absl::StatusOr<db::Outcome>>> Changes::SubmitAll(
    CallInfo call, std::vector<Command> commands) {
  for (Command& command : commands) {
    command.caller = call.caller();
    command.scope = call.asker.scope;
  }
  ChangeAll changes(store_, std::move(commands), call.asker.deadline);
  std::vector<absl::StatusOr<db::Outcome>> outcomes = co_await changes;
  for (const auto& outcome : outcomes) {
    if (outcome.ok()) journal_.Changed(*outcome);
  }
  co_return outcomes;
}

}  // namespace sessiond::rpc
