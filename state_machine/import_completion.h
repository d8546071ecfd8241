// What an earlier import left out of an existing session: it ran with a role that saw only some of
// the rows, on a schema without some of the tables, or on lines without some of the parts. The
// session's IMPORTED events say what was written, whatever has happened to it since.
#pragma once

#include <string>
#include <vector>

#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond {

struct ImportCompletion {
  // The missing parts, in their order; of the session only its id, and of counters what the missing
  // messages add. Empty when nothing is missing.
  v1::ImportSessionsRequest missing;
  // Why the missing parts cannot be added; empty when they can. The end of a sentence.
  std::string obstacle;

  bool all_there() const;
  // `3 messages, 1 error`.
  std::string Missing() const;
};

// `imports` are the session's IMPORTED events, oldest first; `session` has its task. A session that
// was not imported is complete.
ImportCompletion CompletionOf(const v1::Session& session,
                              const std::vector<v1::SessionEvent>& imports,
                              const v1::ImportSessionsRequest& request);

}  // namespace sessiond
