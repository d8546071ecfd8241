// Sessions as they were: an event tells what it changed, and so a session can be taken back behind
// it. Only what filters look at is taken back.
#pragma once

#include <vector>

#include "db/base/committed.h"
#include "db/query/watch_queries.h"
#include "server/watch/change.h"

namespace sessiond::watch {

// Takes a session back behind one event: from as the event left it to as the event found it.
void StepBack(const db::StoredStep& step, v1::Session* session);

// The changes that a group tells of.
std::vector<ChangePtr> ChangesOf(std::vector<db::CommittedEvent> committed);

// The changes that these events were, in their order.
std::vector<ChangePtr> ChangesOf(db::StoredEvents stored);

}  // namespace sessiond::watch
