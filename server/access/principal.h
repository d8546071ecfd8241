// Somebody who calls: who it is, what it may call, which sessions are there for it, and how much it
// may ask for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/access/limits.h"
#include "server/access/roles.h"
#include "state_machine/scope.h"

namespace sessiond::access {

struct Principal {
  // As events, logs and refusals name it.
  std::string name;
  // As metrics count it: its name, or that of its tokens' issuer.
  std::string counted_as;
  std::vector<std::string> roles;
  std::shared_ptr<const Permissions> permissions;
  Scope scope;
  Limits limits;
  // Never null; the same for all calls of the same name.
  std::shared_ptr<Usage> usage;

  bool May(const MethodDescriptor* method) const { return permissions->methods.contains(method); }
  // Whether it may set every field of the method's request.
  bool MaySetAll(const MethodDescriptor* method) const {
    return permissions->whole.contains(method);
  }
};
using PrincipalPtr = std::shared_ptr<const Principal>;

// Whether nothing that was granted to one is different for the other.
bool SameRights(const Principal& one, const Principal& other);

}  // namespace sessiond::access
