// The settings that our statements rely on. A role, a database or a connection string may have set
// others, for another application: text would be stored garbled, and queries would find too little,
// or nothing at all. They are set on every connection when it opens, by SET rather than in the
// startup packet: SET overrides all earlier settings, and poolers refuse a startup packet with
// settings that they do not know.
//
// Tuning (work_mem, random_page_cost, …) is left as it is set, and so are restrictions that an
// operator imposes (default_transaction_read_only, role).
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sessiond::db {

struct PinnedSetting {
  absl::string_view name;
  absl::string_view value;
};

// The settings with a fixed value. In addition, synchronous_commit is at least `on`, and
// search_path is the one schema that has our tables.
absl::Span<const PinnedSetting> PinnedSettings();

// The statements that apply them all, in this order: the second one reads catalogs, and must be
// neither planned nor timed by the settings that the first one corrects.
absl::Span<const std::string> PinSettingsSql();

}  // namespace sessiond::db
