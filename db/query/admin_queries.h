// What the work on many sessions asks the database: which sessions are due for it, a batch at a
// time. The work itself is commands, one per session.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "db/base/answers.h"
#include "db/query/question.h"

namespace sessiond::db {

// The sessions of an owner. `-` for all namespaces in scope, here and below.
Question<Batch> OwnedSessions(absl::string_view namespace_name, absl::string_view owner_id,
                              const Scope& scope);
// The sessions with this reference; holds are ignored.
Question<Batch> ReferencingSessions(absl::string_view namespace_name, absl::string_view name,
                                    absl::string_view value, const Scope& scope);
// The sessions whose purge_time has passed; empty `workflow` for all.
Question<Batch> DueSessions(absl::string_view namespace_name, absl::string_view workflow,
                            const Scope& scope);

// What an erasure does besides erasing sessions: removes the owner's name from the tombstones of
// those archived before. Returns how many.
Question<int64_t> ForgetOwner(absl::string_view namespace_name, absl::string_view owner_id,
                              const Scope& scope);

Question<DatabaseInfo> LoadDatabaseInfo();

}  // namespace sessiond::db
