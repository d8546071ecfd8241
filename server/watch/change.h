// What watches are about: one event, with all that is needed to tell whose it is and to send it.
// Made once, shared by everybody who gets it, never changed.
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

// For each partition the position up to which, itself included, something is known.
using Positions = std::vector<int64_t>;

using SessionPtr = std::shared_ptr<const v1::Session>;

class Change {
 public:
  int16_t partition = 0;
  int64_t position = 0;
  v1::SessionEvent event;
  // For filters: as the event found the session, and as it left it. Null: there was none yet, or it
  // is gone.
  SessionPtr before, after;
  // `before` was made of a tombstone and the event that tells of the end: session_id, namespace,
  // workflow, create_time, state, stage, status, and the owner unless erased. All else is gone.
  bool before_is_partial = false;
  // To be sent: as the event left it, or as it stood a little later. Null: it is gone.
  SessionPtr session;
  // To be sent: what was appended, up to kAppendedBytesMax.
  std::vector<v1::SessionMessage> messages;

  // A WatchSessionsResponse with the change alone, serialized: once, however many watch it.
  // REQUIRES: nothing is changed any more. Thread-safe.
  const std::string& wire() const;

 private:
  mutable absl::once_flag serialized_;
  mutable std::string wire_;
};

using ChangePtr = std::shared_ptr<const Change>;

// What a change carries of the contents of messages; ListMessages has the rest.
inline constexpr std::size_t kAppendedBytesMax = 256 << 10;

// The changes that a group tells of: each session is carried forward from how its command found it.
std::vector<ChangePtr> ChangesOf(std::vector<db::CommittedEvent> committed);

// The changes that these events were, in their order: in what filters look at, each session is
// taken back from how it is now.
std::vector<ChangePtr> ChangesOf(db::StoredEvents stored);

}  // namespace sessiond::watch
