// Which rows a list or a count selects; each kind of list has its own order.
#pragma once

#include <string>

#include "sessiond/v1/artifact.pb.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"
#include "sessiond/v1/task.pb.h"
#include "state_machine/filter.h"
#include "state_machine/scope.h"

namespace sessiond::db {

struct SessionSelection {
  using Row = v1::Session;
  // `-`: all in scope.
  std::string namespace_name = "default";
  // Of the caller.
  Scope scope = {};
  Filter filter;
  bool include_deleted = false;
  // For lists.
  Order order;
};

// Tasks of sessions that are not deleted, the newest started first.
struct TaskSelection {
  using Row = v1::SessionTask;
  // `-`: all in scope.
  std::string namespace_name = "default";
  // Of the caller.
  Scope scope = {};
  // Parsed for kTasks.
  Filter filter;
};

// The newest first.
struct ErrorSelection {
  using Row = v1::SessionError;
  // Empty: all sessions of the namespace.
  std::string session_id;
  // Without a session_id; `-`: all in scope.
  std::string namespace_name = "default";
  // Of the caller.
  Scope scope = {};
  // Parsed for kErrors.
  Filter filter;
  // Errors of deleted sessions too.
  bool include_deleted = false;
};

// By sequence.
struct MessageSelection {
  using Row = v1::SessionMessage;
  std::string session_id;
  bool include_deleted = false;
  // Only those after it, in the direction of the list; 0 for all.
  int32_t after_sequence = 0;
  bool descending = false;
};

// The oldest first.
struct ArtifactSelection {
  using Row = v1::SessionArtifact;
  std::string session_id;
  bool include_deleted = false;
  // KIND_UNSPECIFIED: any.
  v1::SessionArtifact::Kind kind = v1::SessionArtifact::KIND_UNSPECIFIED;
};

// By sequence.
struct EventSelection {
  using Row = v1::SessionEvent;
  std::string session_id;
  bool include_deleted = false;
};

}  // namespace sessiond::db
