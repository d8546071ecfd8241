// Who asks: when they stop waiting for the answer, and what they may see. Whatever is out of their
// scope is answered for as if it had never existed.
#pragma once

#include <utility>

#include "db/base/deadline.h"
#include "state_machine/scope.h"

namespace sessiond::db {

struct Asker {
  Deadline deadline;
  Scope scope;

  Asker() = default;
  // The daemon itself sees everything.
  Asker(Deadline until) : deadline(until) {}
  Asker(SteadyTime until) : deadline(until) {}
  Asker(Deadline until, Scope may_see) : deadline(until), scope(std::move(may_see)) {}
};

}  // namespace sessiond::db
