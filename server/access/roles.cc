#include "server/access/roles.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sessiond::access {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using v1::MethodAccess;

constexpr std::array<std::pair<absl::string_view, MethodAccess::Role>, 4> kBuiltIn = {{
    {"reader", MethodAccess::READER},
    {"worker", MethodAccess::WORKER},
    {"writer", MethodAccess::WRITER},
    {"admin", MethodAccess::ADMIN},
}};

MethodAccess::Role LeastRole(const MethodDescriptor& method) {
  return method.options().GetExtension(v1::access).role();
}

MethodAccess::Role LeastRole(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rules).role();
}

MethodAccess::Role LeastRoleForAllFields(const MethodDescriptor& method) {
  MethodAccess::Role role = LeastRole(method);
  for (int i = 0; i < method.input_type()->field_count(); ++i)
    role = std::max(role, LeastRole(*method.input_type()->field(i)));
  return role;
}

}  // namespace

void Permissions::Add(const Permissions& more) {
  methods.insert(more.methods.begin(), more.methods.end());
  whole.insert(more.whole.begin(), more.whole.end());
}

absl::StatusOr<MethodTable> MethodTable::Of(absl::Span<const std::string> services) {
  MethodTable table;
  for (const std::string& name : services) {
    const ServiceDescriptor* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr)
      return absl::FailedPreconditionError(absl::StrCat("there is no service ", name));
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor* method = service->method(i);
      if (LeastRole(*method) == MethodAccess::ROLE_UNSPECIFIED) {
        return absl::FailedPreconditionError(
            absl::StrCat("nobody is said to be allowed to call ", method->full_name(),
                         ": give it `option (access).role` in the contract"));
      }
      table.methods_.push_back(method);
    }
  }
  return table;
}

std::vector<std::string> MethodTable::BuiltInRoles() {
  std::vector<std::string> names;
  for (const auto& [name, role] : kBuiltIn) names.emplace_back(name);
  return names;
}

Permissions MethodTable::Of(absl::string_view role) const {
  const auto named = std::find_if(kBuiltIn.begin(), kBuiltIn.end(),
                                  [role](const auto& each) { return each.first == role; });
  Permissions permissions;
  if (named == kBuiltIn.end()) return permissions;
  for (const MethodDescriptor* method : methods_) {
    if (LeastRole(*method) <= named->second) permissions.methods.insert(method);
    if (LeastRoleForAllFields(*method) <= named->second) permissions.whole.insert(method);
  }
  return permissions;
}

Permissions MethodTable::OfAnyRole() const {
  Permissions permissions;
  for (const MethodDescriptor* method : methods_) {
    if (LeastRole(*method) != MethodAccess::ANY) continue;
    permissions.methods.insert(method);
    permissions.whole.insert(method);
  }
  return permissions;
}

Permissions MethodTable::Matching(absl::string_view pattern) const {
  absl::ConsumeSuffix(&pattern, "/*");
  Permissions permissions;
  for (const MethodDescriptor* method : methods_) {
    const ServiceDescriptor& service = *method->service();
    const std::string name = NameOf(*method);
    if (pattern != service.name() && pattern != service.full_name() && pattern != name &&
        pattern != absl::StrCat(service.file()->package(), ".", name)) {
      continue;
    }
    permissions.methods.insert(method);
    permissions.whole.insert(method);
  }
  return permissions;
}

std::vector<std::string> MethodTable::Names() const {
  std::vector<std::string> names;
  for (const MethodDescriptor* method : methods_) {
    names.push_back(NameOf(*method));
    const std::string all = absl::StrCat(method->service()->name(), "/*");
    if (names.end() == std::find(names.begin(), names.end(), all)) names.push_back(all);
  }
  return names;
}

const MethodDescriptor* MethodTable::Find(absl::string_view name) const {
  for (const MethodDescriptor* method : methods_) {
    if (name == NameOf(*method) || name == method->name() ||
        name == absl::StrCat(method->file()->package(), ".", NameOf(*method))) {
      return method;
    }
  }
  return nullptr;
}

std::string NameOf(const MethodDescriptor& method) {
  return absl::StrCat(method.service()->name(), "/", method.name());
}

std::string RoleForAllFields(const MethodDescriptor& method) {
  const MethodAccess::Role role = LeastRoleForAllFields(method);
  const auto named = std::find_if(kBuiltIn.begin(), kBuiltIn.end(),
                                  [role](const auto& each) { return each.second == role; });
  return std::string(named->first);
}

const FieldDescriptor* GuardedField(const google::protobuf::Message& request) {
  const Descriptor& type = *request.GetDescriptor();
  const google::protobuf::Reflection& reflection = *request.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (LeastRole(*field) == MethodAccess::ROLE_UNSPECIFIED) continue;
    if (field->is_repeated() ? reflection.FieldSize(request, field) > 0
                             : reflection.HasField(request, field)) {
      return field;
    }
  }
  return nullptr;
}

}  // namespace sessiond::access
