// Roles: which methods may be called. The built-in ones are those of the contract, which names for
// each method the least role that may call it (sessiond/v1/rules.proto).
#pragma once

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::access {

using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// What may be called.
struct Permissions {
  absl::flat_hash_set<const MethodDescriptor*> methods;
  // Of these: the ones of which every field may be set, those with a role of their own too.
  absl::flat_hash_set<const MethodDescriptor*> whole;

  void Add(const Permissions& more);
};

// All methods that are served, and who may call them.
class MethodTable {
 public:
  // FAILED_PRECONDITION: a method has no role.
  static absl::StatusOr<MethodTable> Of(absl::Span<const std::string> services);

  // `reader`, `worker`, `writer`, `admin`.
  static std::vector<std::string> BuiltInRoles();
  // REQUIRES: a built-in role.
  Permissions Of(absl::string_view role) const;
  // What comes with every role, those of one's own too.
  Permissions OfAnyRole() const;
  // `SessionService/GetSession`, `SessionService/*` or `SessionService`; the package may be written
  // before it. Empty: it names no method.
  Permissions Matching(absl::string_view pattern) const;
  // As patterns name them, for suggestions.
  std::vector<std::string> Names() const;
  // The method with this name; null: none.
  const MethodDescriptor* Find(absl::string_view name) const;

  const std::vector<const MethodDescriptor*>& methods() const { return methods_; }

 private:
  MethodTable() = default;

  std::vector<const MethodDescriptor*> methods_;
};

// `SessionService/GetSession`
std::string NameOf(const MethodDescriptor& method);

// The least built-in role that may set every field of the method's request.
std::string RoleForAllFields(const MethodDescriptor& method);

// The first field of the request that is set and takes a role of its own; null: none.
const google::protobuf::FieldDescriptor* GuardedField(const google::protobuf::Message& request);

}  // namespace sessiond::access
