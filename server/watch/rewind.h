// Sessions as they were around an event: of what a group has committed they are carried forward
// from how the command found them, of what is read later they are taken back from how they stand,
// in what filters look at.
#pragma once

#include <vector>

#include "db/base/committed.h"
#include "db/base/stored_events.h"
#include "server/watch/change.h"

namespace sessiond::watch {

// The changes that a group tells of.
std::vector<ChangePtr> ChangesOf(std::vector<db::CommittedEvent> committed);

// The changes that these events were, in their order.
std::vector<ChangePtr> ChangesOf(db::StoredEvents stored);

}  // namespace sessiond::watch
