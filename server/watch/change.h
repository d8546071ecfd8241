// What watches deliver: one event, with everything needed to match it and to send it. It is made
// once, shared by all its receivers, and never changed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/call_once.h"
#include "db/base/committed.h"
#include "db/base/stored_events.h"
#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond::watch {

// For each partition the position up to which, inclusive, something is known.
using Positions = std::vector<int64_t>;

using SessionPtr = std::shared_ptr<const v1::Session>;

class Change {
 public:
  int16_t partition = 0;
  int64_t position = 0;
  v1::SessionEvent event;
  // For filters: the session before the event, and after it. Null: it did not exist yet, or is
  // gone.
  SessionPtr before, after;
  // `before` was made from a tombstone and the last event: session_id, namespace, workflow,
  // create_time, state, stage, status, and the owner unless erased. All other fields are lost.
  bool before_is_partial = false;
  // To be sent: the session as the event left it, or as it was a little later. Null: it is gone.
  SessionPtr session;
  // To be sent: the appended messages, up to kAppendedBytesMax.
  std::vector<v1::SessionMessage> messages;

  // A WatchSessionsResponse with only this change, serialized: once, however many watch it. Without
  // the event's `changes` where they would not fit.
  // REQUIRES: nothing is changed any more. Thread-safe.
  const std::string& wire() const;

 private:
  mutable absl::once_flag serialized_;
  mutable std::string wire_;
};

using ChangePtr = std::shared_ptr<const Change>;

// How much of the contents of messages a change carries; ListMessages has the rest.
inline constexpr std::size_t kAppendedBytesMax = 256 << 10;

// The changes of a committed group: each session is moved forward, event by event, from its state
// before its command.
std::vector<ChangePtr> ChangesOf(std::vector<db::CommittedEvent> committed);

// The changes for these stored events, in their order: for filters, each session is moved back,
// event by event, from its present state.
std::vector<ChangePtr> ChangesOf(db::StoredEvents stored);

}  // namespace sessiond::watch
