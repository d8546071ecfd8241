#include "server/rpc/changes.h"

#include "server/rpc/awaiters.h"

namespace sessiond::rpc {

Answer<db::Outcome> Changes::Submit(CallInfo call, Command command) {
  command.caller = call.caller;
  Change change(store_, std::move(command), call.deadline);
  absl::StatusOr<db::Outcome> outcome = co_await change;
  if (outcome.ok()) journal_.Changed(*outcome);
  co_return outcome;
}

Task<std::vector<absl::StatusOr<db::Outcome>>> Changes::SubmitAll(CallInfo call,
                                                                  std::vector<Command> commands) {
  for (Command& command : commands) command.caller = call.caller;
  ChangeAll changes(store_, std::move(commands), call.deadline);
  std::vector<absl::StatusOr<db::Outcome>> outcomes = co_await changes;
  for (const auto& outcome : outcomes) {
    if (outcome.ok()) journal_.Changed(*outcome);
  }
  co_return outcomes;
}

}  // namespace sessiond::rpc
