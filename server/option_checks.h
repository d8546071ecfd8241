// Options that contradict each other, and addresses where the daemon cannot listen: found before
// anything is started.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/address.h"
#include "server/config/config.h"

namespace sessiond {

// Where the daemon listens, and which option says so.
struct ListeningPlace {
  Address address;
  absl::string_view option;
};
// REQUIRES: the table of options has validated them.
std::vector<ListeningPlace> ListeningPlaces(const Config& config);

// What is missing for calls from other machines; nothing, if nothing is.
std::string WhatIsMissing(const Config& config);

// FAILED_PRECONDITION: these options do not fit together.
absl::Status CheckOptions(const Config& config);

// An address that is in use, or one off loopback without --insecure.
absl::Status CheckPlace(const ListeningPlace& place, const Config& config);

// Both: what would keep `serve` from listening.
absl::Status CheckAddresses(const Config& config);

}  // namespace sessiond
