// What a lane tells of a group once its commit is known: each event with the session it was about.
// Watches are fed with these, from memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond::db {

struct CommittedEvent {
  int16_t partition = 0;
  // Dense within the partition, in commit order.
  int64_t position = 0;
  v1::SessionEvent event;
  // As its command, which may have told of several facts, left the session; presented. Null: it is
  // gone, archived or erased. The same pointer for all events of a command.
  std::shared_ptr<const v1::Session> session;
  // As the command found it. Null: it was created. The same pointer for all events of a command.
  std::shared_ptr<const v1::Session> session_before;
  // Of MESSAGES_APPENDED: all that were.
  std::vector<v1::SessionMessage> messages;
};

// A stretch of a partition's events: after < position <= upto.
struct PositionRange {
  int16_t partition = 0;
  int64_t after = 0;
  int64_t upto = 0;
};

// Who wants to know. REQUIRES: outlives the lanes.
struct CommittedListener {
  // While false nothing is copied, and nobody called. Any group that begins after it became true is
  // told of; what was missed before is found in the database.
  std::atomic<bool> listening = false;
  // Called on the lane's thread with the events of one group, in the order of each partition's
  // positions, before the group's callers have their answers.
  std::function<void(std::vector<CommittedEvent>)> on_committed;
};

}  // namespace sessiond::db
