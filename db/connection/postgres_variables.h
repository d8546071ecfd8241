// What libpq takes from the environment. A shell is often set up for another database, and
// PGOPTIONS or PGHOSTADDR meant for that one would lead us elsewhere, or change what is stored.
// libpq has no option to ignore it; so what it must not see is removed from our environment.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "db/connection/conninfo.h"

namespace sessiond::db {

// The variables that apply in addition to --db-url (its help lists them), and to the URL of an old
// application's database; a * at the end stands for all that begin so.
std::vector<absl::string_view> HonouredVariables();

// Removes all variables of PostgreSQL: for a PostgreSQL of our own. REQUIRES: called before there
// are threads.
void ForgetLibpqEnvironment();

// Keeps only those that HonouredVariables lists, and of these only what `said` does not set itself.
// REQUIRES: called before there are threads.
void ForgetLibpqEnvironment(const ConnInfo& said);

// The names of those that are left, to explain where a connection leads.
std::vector<std::string> LibpqVariables();

}  // namespace sessiond::db
