// The settings that our statements rely on. A role, a database or a connection string may have set
// others, and meant somebody else: what is stored would be mojibake, what is found less than there
// is, or nothing at all. They are made on every connection when it opens, by SET rather than by the
// startup packet: that wins over whatever was set before, and poolers refuse what they do not know
// in the latter.
//
// What is tuning (work_mem, random_page_cost, …) stays as it is set, and so does what somebody
// wants to be kept from (default_transaction_read_only, role).
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sessiond::db {

struct PinnedSetting {
  absl::string_view name;
  absl::string_view value;
};

// Those of a fixed value. Besides, synchronous_commit is at least `on`, and search_path is the one
// schema where our tables are.
absl::Span<const PinnedSetting> PinnedSettings();

// The statements that make them all, in this order: the second one reads catalogs, and is not to be
// planned, nor timed, by what the first one mends.
absl::Span<const std::string> PinSettingsSql();

}  // namespace sessiond::db
