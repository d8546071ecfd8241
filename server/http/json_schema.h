// Messages of the contract as JSON Schema (draft 2020-12), by Proto3's JSON mapping. A schema takes
// all that the daemon takes and answers, in its canonical form. It refuses what the rules of fields
// refuse as far as schemas can say it, and its descriptions say the rest.
#pragma once

#include <map>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "server/http/json_writer.h"
#include "server/http/proto_comments.h"
#include "server/rpc/field_rules.h"

namespace sessiond::http {

// `#/components/schemas/sessiond.v1.Session`
std::string SchemaPath(absl::string_view full_name);

class JsonSchemas {
 public:
  // `comments` outlives them.
  explicit JsonSchemas(const ProtoComments& comments) : comments_(comments) {}

  // Adds a schema for the type, and for all that its fields are made of.
  void Add(const google::protobuf::Descriptor& type);
  void Add(const google::protobuf::EnumDescriptor& type);
  // The same for what a request is made of: the daemon checks its fields by their rules.
  void AddRequest(const google::protobuf::Descriptor& type);

  // A member for each, in the order of their names.
  void Write(JsonWriter& out) const;

 private:
  void AddChecked(const rpc::MessagePlan& plan, const google::protobuf::Descriptor& type);
  void WriteMessage(const google::protobuf::Descriptor& type, JsonWriter& out) const;
  void WriteEnum(const google::protobuf::EnumDescriptor& type, JsonWriter& out) const;
  // `plan`: null where nothing is checked.
  void WriteField(const google::protobuf::FieldDescriptor& field, const rpc::FieldPlan* plan,
                  JsonWriter& out) const;

  const ProtoComments& comments_;
  // By full name.
  std::map<std::string, const google::protobuf::Descriptor*> messages_;
  std::map<std::string, const google::protobuf::EnumDescriptor*> enums_;
  // Those whose fields are checked; of them, the requests.
  std::set<const google::protobuf::Descriptor*> checked_, requests_;
};

}  // namespace sessiond::http
