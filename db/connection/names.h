// The addresses of hosts' names. With a slow name server, or a dead first one, getaddrinfo blocks
// for seconds, and no deadline ends it. So each name is looked up in the background, once for all
// callers that ask meanwhile, and its last addresses are cached for as long as the process lives.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "db/base/steady_time.h"

namespace sessiond::db {

struct Addresses {
  // Numeric, as last found; empty if never found.
  std::vector<std::string> known;
  // Why the last look-up found none: the end of a sentence.
  std::string why = "its look-up takes long";
};

// By name. Looks them up in parallel, and waits for all of them until `enough`; from then on only
// while no address of any is known, and until the deadline at most.
std::map<std::string, Addresses> LookUpNames(const std::vector<std::string>& names,
                                             SteadyTime enough, SteadyTime deadline);

}  // namespace sessiond::db
