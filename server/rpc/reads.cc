#include "server/rpc/reads.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "server/rpc/awaiters.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {

Answer<Serialized<v1::Session>> FindSession(db::SessionStore& store, std::string session_id,
                                            bool include_deleted, db::Deadline deadline) {
  Read read(store, {session_id}, deadline);
  auto found = co_await read;
  if (!found.ok()) co_return found.status();
  const absl::Status exists = CheckFound(session_id, found->front(), include_deleted);
  if (!exists.ok()) co_return exists;
  const auto& session = found->front().session;
  co_return Serialized<v1::Session>{std::shared_ptr<const std::string>(session, &session->bytes)};
}

absl::Status CheckFound(absl::string_view session_id, const db::FoundSession& found,
                        bool include_deleted) {
  if (found.session != nullptr && (include_deleted || !found.session->deleted))
    return absl::OkStatus();
  return CheckExists(session_id, found.ToAggregate(), include_deleted);
}

Task<absl::Status> PresentSessions(db::SessionStore& store, std::vector<v1::Session*> sessions,
                                   db::Deadline deadline) {
  const auto workflow_of = [&store](const v1::Session& session) {
    return store.catalog().Find(session.workflow(), session.workflow_revision());
  };
  const auto strange =
      std::find_if(sessions.begin(), sessions.end(),
                   [&](const v1::Session* session) { return workflow_of(*session) == nullptr; });
  if (strange != sessions.end()) {
    // The read lane learns all workflows from the first session whose own it does not know.
    Read read(store, {(*strange)->session_id()}, deadline);
    if (const auto read_it = co_await read; !read_it.ok()) co_return read_it.status();
  }
  const absl::Time now = store.Now();
  for (v1::Session* session : sessions) {
    if (const auto workflow = workflow_of(*session); workflow != nullptr)
      Present(*workflow, now, session);
    for (v1::SessionError& error : *session->mutable_open_errors()) Present(now, &error);
  }
  co_return absl::OkStatus();
}

int PageSize(int asked) { return asked == 0 ? kPageSizeDefault : std::min(asked, kPageSizeMax); }

std::string NamespaceOf(const std::string& asked) { return asked.empty() ? "default" : asked; }

absl::Status Pages::NoKey() {
  return Refusal(v1::INVALID_PAGE_TOKEN,
                 "The page_token was not made for this query. Start again without one.");
}

std::optional<int32_t> ParseSequence(const std::vector<std::string>& values) {
  int32_t sequence = 0;
  if (values.size() != 1 || !absl::SimpleAtoi(values.front(), &sequence)) return std::nullopt;
  return sequence;
}

}  // namespace sessiond::rpc
