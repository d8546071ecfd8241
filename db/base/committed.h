// What a lane reports about a group once its commit is known: each event with its session. Watches
// are fed with these, from memory.
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
  // The session, presented, as its command left it; a command may have added several events. Null:
  // archived or erased. The same pointer for all events of a command.
  std::shared_ptr<const v1::Session> session;
  // The session as the command found it. Null: it was created. The same pointer for all events of a
  // command.
  std::shared_ptr<const v1::Session> session_before;
  // For MESSAGES_APPENDED: all appended messages.
  std::vector<v1::SessionMessage> messages;
};

// A range of a partition's events: after < position <= upto.
struct PositionRange {
  int16_t partition = 0;
  int64_t after = 0;
  int64_t upto = 0;
};

// Notified of commits. REQUIRES: outlives the lanes.
struct CommittedListener {
  // While false nothing is copied, and nothing called. Every group that begins after it became true
  // is reported; earlier ones are found in the database.
  std::atomic<bool> listening = false;
  // Called on the lane's thread with the events of one group, in the order of each partition's
  // positions, before the group's callers get their answers.
  std::function<void(std::vector<CommittedEvent>)> on_committed;
};

}  // namespace sessiond::db
