#include "server/watch/change.h"

#include "sessiond/v1/session_service.pb.h"

namespace sessiond::watch {

const std::string& Change::wire() const {
  absl::call_once(serialized_, [this] {
    // Lent, not copied: to be serialized is no change.
    v1::WatchSessionsResponse response;
    v1::WatchSessionsResponse::Change& change = *response.mutable_change();
    change.unsafe_arena_set_allocated_event(const_cast<v1::SessionEvent*>(&event));
    change.unsafe_arena_set_allocated_session(const_cast<v1::Session*>(session.get()));
    for (const v1::SessionMessage& message : messages) *change.add_messages() = message;
    wire_ = response.SerializeAsString();
    change.unsafe_arena_release_event();
    change.unsafe_arena_release_session();
  });
  return wire_;
}

}  // namespace sessiond::watch
