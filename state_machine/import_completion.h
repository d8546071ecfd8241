// What an earlier import left out of a session that is there by now: it was run by a role that saw
// but some of the rows, from a schema without some of the tables, or from lines without some of the
// parts. Its IMPORTED events tell what it took, whatever has become of that since.
#pragma once

#include <string>
#include <vector>

#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond {

struct ImportCompletion {
  // The parts that are missing, in their order; of the session only its id, and of counters what
  // the missing messages add. Nothing where all is there.
  v1::ImportSessionsRequest missing;
  // Why the parts that are missing cannot be added; empty where they can. A sentence's end.
  std::string obstacle;

  bool all_there() const;
  // `3 messages, 1 error`.
  std::string Missing() const;
};

// `imports` are the session's IMPORTED events, oldest first; `session` has its task. A session that
// was not imported has all that it should have.
ImportCompletion CompletionOf(const v1::Session& session,
                              const std::vector<v1::SessionEvent>& imports,
                              const v1::ImportSessionsRequest& request);

}  // namespace sessiond
