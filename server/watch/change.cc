#include "server/watch/change.h"

#include "sessiond/v1/session_service.pb.h"

namespace sessiond::watch {

const std::string& Change::wire() const {
  absl::call_once(serialized_, [this] {
    v1::WatchSessionsResponse response;
    v1::WatchSessionsResponse::Change& change = *response.mutable_change();
    *change.mutable_event() = event;
    if (session != nullptr) *change.mutable_session() = *session;
    for (const v1::SessionMessage& message : messages) *change.add_messages() = message;
    wire_ = response.SerializeAsString();
  });
  return wire_;
}

}  // namespace sessiond::watch
