// What a handler answers: its reply, or why not.
#pragma once

#include "absl/status/statusor.h"
#include "server/rpc/task.h"

namespace sessiond::rpc {

template <class Reply>
using Answer = Task<absl::StatusOr<Reply>>;

}  // namespace sessiond::rpc
