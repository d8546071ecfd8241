// What is derived for a reader: a session, a task and an error as they are sent, which no table
// has.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/task.pb.h"
#include "state_machine/workflow.h"

namespace sessiond {

// Fills the fields that are derived for a reader: display name, next stage, etag, recoverable, and
// those of the task.
void Present(const Workflow& workflow, absl::Time now, v1::Session* session);
// Until when a presented session stays the same, unless an event changes it: until its recovery
// window closes. While its task runs, this is already past: the task grows older, and its bare
// heartbeats are no events.
absl::Time PresentedUntil(const v1::Session& session);
// The same for resources that are read by themselves: duration and retryable, age.
void Present(absl::Time now, v1::SessionTask* task);
void Present(absl::Time now, v1::SessionError* error);

std::string EtagOf(const v1::Session& session);
std::string EtagOf(int32_t revision);

}  // namespace sessiond
