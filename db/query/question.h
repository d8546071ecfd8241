// What is asked in one round trip, and how the answer is read.
#pragma once

#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/types/span.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"

namespace sessiond::db {

template <class Answered>
struct Question {
  std::vector<Sql> statements;
  // Reads the results, one for each statement. Called once.
  absl::AnyInvocable<Answered(absl::Span<const Result> results)> read;
};

}  // namespace sessiond::db
