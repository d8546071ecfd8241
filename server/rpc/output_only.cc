#include "server/rpc/output_only.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "server/rpc/field_rules.h"
#include "state_machine/update_mask.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

void Drop(const MessagePlan& plan, Message& resource) {
  for (const FieldPlan* field : plan.output_only)
    resource.GetReflection()->ClearField(&resource, field->field);
}

bool IsNamed(const std::vector<UpdatePath>& paths, UpdateField field, absl::string_view key = "") {
  return std::any_of(paths.begin(), paths.end(), [&](const UpdatePath& path) {
    return path.field == field && path.key == key;
  });
}

// Keeps only the keys of a field that the paths name; all of them when they name the field itself.
template <class Map>
void KeepNamed(const std::vector<UpdatePath>& paths, UpdateField field, Map& map) {
  if (IsNamed(paths, field)) return;
  for (auto entry = map.begin(); entry != map.end();) {
    entry = IsNamed(paths, field, entry->first) ? std::next(entry) : map.erase(entry);
  }
}

}  // namespace

// The mutable accessors would create an absent part: hence the checks.

void DropOutputOnly(Message& request) {
  const Reflection& reflection = *request.GetReflection();
  for (const FieldPlan* field : PlanOf(*request.GetDescriptor()).resources) {
    const FieldDescriptor* of = field->field;
    if (!of->is_repeated()) {
      if (reflection.HasField(request, of))
        Drop(*field->message, *reflection.MutableMessage(&request, of));
      continue;
    }
    const int count = reflection.FieldSize(request, of);
    for (int i = 0; i < count; ++i)
      Drop(*field->message, *reflection.MutableRepeatedMessage(&request, of, i));
  }
}

void DropOutputOnly(v1::CreateSessionRequest& request) {
  DropOutputOnly(static_cast<Message&>(request));
  if (!request.has_session()) return;
  v1::Session& session = *request.mutable_session();
  session.clear_session_id();
  session.clear_etag();
  // Values that mean the same as unset fields.
  if (session.namespace_() == "default") session.clear_namespace_();
  if (session.context().fields().empty()) session.clear_context();
}

void DropOutputOnly(v1::UpdateSessionRequest& request) {
  DropOutputOnly(static_cast<Message&>(request));
  if (!request.has_session()) return;
  v1::Session& session = *request.mutable_session();
  // Fields that the mask leaves out are not input: a caller who reads a session, changes a part and
  // sends the whole back sends old values of the rest. An invalid mask names nothing, and is
  // refused later.
  const auto parsed = ParseUpdateMask(request.update_mask());
  const std::vector<UpdatePath> paths = parsed.ok() ? *parsed : std::vector<UpdatePath>();
  session.clear_workflow();
  session.clear_namespace_();
  if (!IsNamed(paths, UpdateField::kOwnerId)) session.clear_owner_id();
  if (!IsNamed(paths, UpdateField::kOwnerDisplayName)) session.clear_owner_display_name();
  if (!IsNamed(paths, UpdateField::kHold)) session.clear_hold();
  if (session.has_context() && !IsNamed(paths, UpdateField::kContext)) {
    KeepNamed(paths, UpdateField::kContext, *session.mutable_context()->mutable_fields());
    if (session.context().fields().empty()) session.clear_context();
  }
  KeepNamed(paths, UpdateField::kReferences, *session.mutable_references());
  KeepNamed(paths, UpdateField::kLabels, *session.mutable_labels());
}

}  // namespace sessiond::rpc
