// The only entry point of changes: a command goes through its lane, its outcome into the journal.
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/call.h"
#include "server/rpc/serialized.h"
#include "state_machine/decide.h"

namespace sessiond::rpc {

// The reply of a verb, made from its outcome.
void MakeReply(db::Outcome& outcome, v1::Session* reply);
void MakeReply(db::Outcome& outcome, v1::SessionTask* reply);
void MakeReply(db::Outcome& outcome, v1::SessionError* reply);
void MakeReply(db::Outcome& outcome, v1::AppendMessagesResponse* reply);
void MakeReply(db::Outcome& outcome, v1::AddArtifactsResponse* reply);
void MakeReply(db::Outcome& outcome, v1::DeleteArtifactResponse* reply);

class Changes {
 public:
  // REQUIRES: both outlive the changes.
  Changes(db::SessionStore& store, Journal& journal) : store_(store), journal_(journal) {}

  Answer<db::Outcome> Submit(CallInfo call, Command command);

  // Serves a verb of verbs.inc: a change of the existing session that the request names.
  template <class Reply, class Request>
  Answer<Reply> Serve(CallInfo call, Request request) {
    Command command{.request_id = request.request_id()};
    if constexpr (std::is_same_v<Request, v1::UpdateSessionRequest>) {
      command.session_id = request.session().session_id();
    } else {
      command.session_id = request.session_id();
    }
    command.request = std::move(request);
    auto outcome = co_await Submit(std::move(call), std::move(command));
    if (!outcome.ok()) co_return outcome.status();
    Reply reply;
    MakeReply(*outcome, &reply);
    co_return reply;
  }

  // The same request applied to each of many sessions, in parallel: the outcome of each.
  template <class Request>
  Awaitable<std::vector<absl::StatusOr<db::Outcome>>> MakeEach(CallInfo call,
                                                               std::vector<std::string> session_ids,
                                                               Request request) {
    std::vector<Command> commands;
    for (std::string& id : session_ids) {
      // The request's own id, but in a separate space: the caller may have used it for one of them.
      Command command{.session_id = std::move(id)};
      if (!request.request_id().empty())
        command.request_id = absl::StrCat(Request::descriptor()->name(), ":", request.request_id());
      command.request = request;
      commands.push_back(std::move(command));
    }
    return SubmitAll(std::move(call), std::move(commands));
  }

 private:
  Awaitable<std::vector<absl::StatusOr<db::Outcome>>> SubmitAll(CallInfo call,
                                                                std::vector<Command> commands);

  db::SessionStore& store_;
  Journal& journal_;
};

}  // namespace sessiond::rpc
