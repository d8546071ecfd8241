// Filters as SQL: from a closed vocabulary of columns, one per resource; values go into parameters.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "db/query/text_params.h"
#include "state_machine/filter.h"

namespace sessiond::db {

// `recoverable`, of a table called `s`, as IsRecoverable in memory: ACTIVE or PAUSED, not completed
// and within its window. Not as a list of states: that would tempt the planner to collect them all
// by their index.
inline constexpr absl::string_view kRecoverableSql =
    "s.state NOT IN (1, 4, 5) AND s.completed_at IS NULL"
    " AND COALESCE(s.recover_before_at > now(), false)";
static_assert(v1::Session::CREATING == 1 && v1::Session::STOPPED == 4 && v1::Session::DELETED == 5);

// A condition that is never NULL, so that NOT means what it says. `filter` was parsed for
// `resource`; its table is called `s` (sessions), `t` (session_tasks) or `x` (session_errors).
std::string FilterSql(const Filter& filter, FilterResource resource, int partition_count,
                      TextParams* parameters);

}  // namespace sessiond::db
