// Which rows a list or a count is about.
#pragma once

#include <string>

#include "sessiond/v1/artifact.pb.h"
#include "state_machine/filter.h"

namespace sessiond::db {

struct SessionSelection {
  // `-`: all.
  std::string namespace_name = "default";
  Filter filter;
  bool include_deleted = false;
  // Of lists.
  Order order;
};

struct TaskSelection {
  // `-`: all.
  std::string namespace_name = "default";
  // Parsed for kTasks.
  Filter filter;
};

struct ErrorSelection {
  // Empty: all sessions of the namespace.
  std::string session_id;
  // Without a session_id; `-`: all.
  std::string namespace_name = "default";
  // Parsed for kErrors.
  Filter filter;
  // Of deleted sessions too.
  bool include_deleted = false;
};

struct MessageSelection {
  std::string session_id;
  bool include_deleted = false;
  // Only those behind it, in the direction of the list; 0 for all.
  int32_t after_sequence = 0;
  bool descending = false;
};

struct ArtifactSelection {
  std::string session_id;
  bool include_deleted = false;
  // KIND_UNSPECIFIED: any.
  v1::SessionArtifact::Kind kind = v1::SessionArtifact::KIND_UNSPECIFIED;
};

struct EventSelection {
  std::string session_id;
  bool include_deleted = false;
};

}  // namespace sessiond::db
