// What libpq takes from the environment. A shell is often set up for another database, and
// PGOPTIONS or PGHOSTADDR meant for that one would lead us elsewhere, or change what is stored.
// There is no way to tell libpq not to look; so what it shall not see is taken out of this
// process's environment.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "db/connection/conninfo.h"

namespace sessiond::db {

// Those that count beside --db-url, whose help tells of them, and beside the URL of an old
// application's database; with a * at the end, all that begin so.
std::vector<absl::string_view> HonouredVariables();

// Leaves no variable of PostgreSQL's: for one of our own.
// REQUIRES: called before there are threads.
void ForgetLibpqEnvironment();

// Leaves those that HonouredVariables tells of, as far as `said` does not say itself what they do.
// REQUIRES: called before there are threads.
void ForgetLibpqEnvironment(const ConnInfo& said);

// The names of those that are left, for whoever wonders where a connection leads.
std::vector<std::string> LibpqVariables();

}  // namespace sessiond::db
