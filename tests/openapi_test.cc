// The OpenAPI document against the contract that it is made of. Whether it is one, and whether
// messages are what it says, tests/openapi_test.sh asks others' code.
#include "server/http/openapi.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/embedded.h"
#include "server/http/json_schema.h"
#include "server/rpc/services.h"
#include "tests/golden.h"

namespace sessiond::http {
namespace {

namespace pb = google::protobuf;
using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<const pb::MethodDescriptor*> AllMethods() {
  std::vector<const pb::MethodDescriptor*> methods;
  for (const std::string& name : rpc::ServiceNames()) {
    const auto* service = pb::DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i));
  }
  return methods;
}

const std::string& Text() {
  static const auto* const kText = new std::string(OpenApi(AllMethods(), DescriptorSet()));
  return *kText;
}

const json& Document() {
  static const auto* const kDocument = new json(json::parse(Text()));
  return *kDocument;
}

const json& Schema(const std::string& name) {
  return Document().at("components").at("schemas").at(name);
}
const json& Property(const std::string& message, const std::string& name) {
  return Schema(message).at("properties").at(name);
}

// Visits every object in it.
void ForEachObject(const json& value, const std::function<void(const json&)>& visit) {
  if (value.is_object()) visit(value);
  if (!value.is_structured()) return;
  for (const json& part : value) ForEachObject(part, visit);
}

TEST(OpenApi, IsTheDocumentInTheTree) { EXPECT_TRUE(MatchesGolden("docs/openapi.json", Text())); }

TEST(OpenApi, IsTheSameWhateverTheOrderOfTheMethods) {
  auto methods = AllMethods();
  std::reverse(methods.begin(), methods.end());
  EXPECT_EQ(OpenApi(methods, DescriptorSet()), Text());
}

TEST(OpenApi, EveryMethodHasItsPathAndWithoutSideEffectsAGet) {
  const json& paths = Document().at("paths");
  std::set<std::string> operations;
  for (const auto* method : AllMethods()) {
    const std::string path = absl::StrCat("/", method->service()->full_name(), "/", method->name());
    ASSERT_TRUE(paths.contains(path)) << path;
    const bool streams = method->client_streaming() || method->server_streaming();
    const bool pure = method->options().idempotency_level() == pb::MethodOptions::NO_SIDE_EFFECTS;
    EXPECT_EQ(paths.at(path).contains("get"), pure && !streams) << path;
    EXPECT_TRUE(paths.at(path).contains("post")) << path;
    for (const json& operation : paths.at(path)) {
      EXPECT_TRUE(operations.insert(operation.at("operationId")).second) << path;
      EXPECT_THAT(operation.at("tags"), ElementsAre(method->service()->name()));
      EXPECT_NE(operation.at("summary"), "");
    }
  }
  EXPECT_EQ(paths.size(), AllMethods().size());
  EXPECT_EQ(Document().at("tags").size(), rpc::ServiceNames().size());
}

TEST(OpenApi, EveryReferenceLeadsSomewhere) {
  int references = 0;
  ForEachObject(Document(), [&](const json& object) {
    if (!object.contains("$ref")) return;
    ++references;
    const std::string path = object.at("$ref");
    ASSERT_EQ(path[0], '#') << path;
    EXPECT_TRUE(Document().contains(json::json_pointer(path.substr(1)))) << path;
  });
  EXPECT_GT(references, 100);
}

// What google.protobuf has is in a form of its own.
TEST(OpenApi, EveryTypeAndEveryFieldIsDescribed) {
  for (const auto& [name, schema] : Document().at("components").at("schemas").items()) {
    EXPECT_FALSE(absl::StartsWith(name, "google.protobuf")) << name;
    EXPECT_FALSE(schema.value("description", "").empty()) << name;
    if (!schema.contains("properties")) continue;
    for (const auto& [field, property] : schema.at("properties").items())
      EXPECT_TRUE(property.contains("description")) << name << "." << field;
  }
}

TEST(OpenApi, DescribesWhatIsServedAndNothingElse) {
  const auto* get = pb::DescriptorPool::generated_pool()->FindMethodByName(
      "sessiond.v1.MessageService.ListMessages");
  const json document = json::parse(OpenApi({get}, DescriptorSet()));
  EXPECT_EQ(document.at("paths").size(), 1u);
  EXPECT_EQ(document.at("tags").size(), 1u);
  const json& schemas = document.at("components").at("schemas");
  EXPECT_TRUE(schemas.contains("sessiond.v1.SessionMessage"));
  EXPECT_FALSE(schemas.contains("sessiond.v1.Session"));
}

TEST(OpenApi, AGetHasTheRequestInItsQuery) {
  const json& get = Document().at("paths").at("/sessiond.v1.SessionService/GetSession").at("get");
  EXPECT_FALSE(get.contains("requestBody"));
  std::vector<std::string> names;
  for (json parameter : get.at("parameters")) {
    if (parameter.contains("$ref"))
      parameter =
          Document().at(json::json_pointer(parameter.at("$ref").get<std::string>().substr(1)));
    names.push_back(parameter.at("in").get<std::string>() + " " +
                    parameter.at("name").get<std::string>());
  }
  EXPECT_THAT(names, ElementsAre("query connect", "query encoding", "query base64", "query message",
                                 "header Connect-Timeout-Ms"));
}

TEST(OpenApi, StreamsAreEnvelopes) {
  for (const char* path :
       {"/sessiond.v1.SessionService/WatchSessions", "/sessiond.v1.AdminService/ImportSessions"}) {
    const json& post = Document().at("paths").at(path).at("post");
    for (const json* content :
         {&post.at("requestBody").at("content"), &post.at("responses").at("200").at("content")}) {
      ASSERT_EQ(content->size(), 1u);
      EXPECT_TRUE(content->contains("application/connect+json")) << path;
    }
    EXPECT_THAT(post.at("description"), HasSubstr("connect.EndOfStream"));
  }
}

TEST(OpenApi, SaysWhichFieldsHaveToBeGiven) {
  EXPECT_THAT(Schema("sessiond.v1.StartTaskRequest").at("required"),
              ElementsAre("sessionId", "taskType"));
  EXPECT_THAT(Schema("sessiond.v1.AppendMessagesRequest").at("required"),
              ElementsAre("sessionId", "messages"));
  EXPECT_THAT(Schema("sessiond.v1.UpdateSessionRequest").at("required"), ElementsAre("session"));
  EXPECT_THAT(Property("sessiond.v1.UpdateSessionRequest", "session").at("required"),
              ElementsAre("sessionId"));
  EXPECT_FALSE(Schema("sessiond.v1.Session").contains("required"));
}

TEST(OpenApi, SaysTheLimitsOfFields) {
  EXPECT_EQ(Property("sessiond.v1.GetWorkflowRequest", "name").at("pattern"),
            "^(?:[a-z][a-z0-9_]{0,62})$");
  EXPECT_EQ(Property("sessiond.v1.Session", "workflow").at("pattern"),
            "^(?:[a-z][a-z0-9_]{0,62})?$");
  EXPECT_EQ(Property("sessiond.v1.UpdateSessionRequest", "etag").at("maxLength"), 64);
  EXPECT_THAT(Property("sessiond.v1.SessionMessage", "content").at("description"),
              HasSubstr("At most 1048576 bytes in UTF-8."));
  EXPECT_EQ(Property("sessiond.v1.AppendMessagesRequest", "messages").at("minItems"), 1);
  EXPECT_EQ(Property("sessiond.v1.AppendMessagesRequest", "messages").at("maxItems"), 500);
  EXPECT_EQ(Property("sessiond.v1.ListTasksRequest", "pageSize").at("minimum"), 0);
  EXPECT_EQ(Property("sessiond.v1.Session", "labels").at("maxProperties"), 64);
  EXPECT_EQ(Property("sessiond.v1.Session", "labels").at("propertyNames").at("pattern"),
            "^(?:[a-z][a-z0-9_.-]{0,62})$");
  EXPECT_THAT(Property("sessiond.v1.StartTaskRequest", "heartbeatTimeout").at("description"),
              HasSubstr("From 1s to 2592000s."));
  EXPECT_THAT(Property("sessiond.v1.UpdateSessionRequest", "setLabels").at("description"),
              HasSubstr("takes the role WRITER"));
}

TEST(OpenApi, WhatTheDaemonAloneGivesIsReadOnlyAndHasNoLimits) {
  const json& stage = Property("sessiond.v1.Session", "stage");
  EXPECT_EQ(stage.at("readOnly"), true);
  EXPECT_FALSE(stage.contains("maxLength"));
  EXPECT_FALSE(Property("sessiond.v1.Session", "ownerId").contains("readOnly"));
  // Of answers only.
  EXPECT_FALSE(Property("sessiond.v1.SessionEvent", "reason").contains("maxLength"));
  // Checked by CheckWorkflow.
  EXPECT_FALSE(Property("sessiond.v1.Workflow", "name").contains("maxLength"));
}

// An id elsewhere than in the request itself may be any, and is ignored.
TEST(OpenApi, OnlyTheIdThatARequestIsAboutHasAPattern) {
  EXPECT_THAT(Property("sessiond.v1.GetSessionRequest", "sessionId").at("pattern"),
              HasSubstr("exec_"));
  EXPECT_FALSE(Property("sessiond.v1.Session", "sessionId").contains("pattern"));
  EXPECT_FALSE(
      Property("sessiond.v1.LookupSessionsRequest", "sessionIds").at("items").contains("pattern"));
}

TEST(OpenApi, AOneofIsSaidInWords) {
  EXPECT_THAT(Schema("sessiond.v1.WatchSessionsResponse").at("description"),
              HasSubstr("At most one of `session`, `change`, `bookmark`, `heartbeat` is given."));
}

TEST(OpenApi, AnEnumIsItsNames) {
  const json& states = Schema("sessiond.v1.Session.State");
  EXPECT_EQ(states.at("type"), "string");
  EXPECT_THAT(states.at("enum"), ElementsAre("STATE_UNSPECIFIED", "CREATING", "ACTIVE", "PAUSED",
                                             "STOPPED", "DELETED"));
  EXPECT_THAT(states.at("description"), HasSubstr("\n- `ACTIVE`: Live: accepts"));
}

// -------------------------------------------------------------------------------------------------
// Proto3's JSON, type by type: the contract does not have them all.

json SchemaOf(absl::string_view fields) {
  pb::FileDescriptorProto file;
  EXPECT_TRUE(
      pb::TextFormat::ParseFromString(absl::StrCat(R"(name: "t.proto" package: "t" syntax: "proto3"
                      dependency: "google/protobuf/any.proto"
                      dependency: "google/protobuf/field_mask.proto"
                      dependency: "google/protobuf/struct.proto"
                      dependency: "google/protobuf/timestamp.proto"
                      message_type { name: "T" )",
                                                   fields, "}"),
                                      &file));
  pb::DescriptorPool pool(pb::DescriptorPool::generated_pool());
  const pb::FileDescriptor* built = pool.BuildFile(file);
  EXPECT_NE(built, nullptr);
  const ProtoComments comments(DescriptorSet());
  JsonSchemas schemas(comments);
  schemas.Add(*built->message_type(0));
  JsonWriter out;
  out.Object([&] { schemas.Write(out); });
  return json::parse(out.Finish());
}

json TypeOf(absl::string_view type) {
  return SchemaOf(
             absl::StrCat(R"(field { name: "a_b" number: 1 label: LABEL_OPTIONAL )", type, "}"))
      .at("t.T")
      .at("properties")
      .at("aB");
}

TEST(JsonSchemas, TypesAreThoseOfProto3sJson) {
  EXPECT_EQ(TypeOf("type: TYPE_BOOL"), R"({"type": "boolean"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_STRING"), R"({"type": "string"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_BYTES"), R"({"type": "string", "contentEncoding": "base64"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_SINT32"), R"({"type": "integer", "format": "int32"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_FIXED32"), R"({"type": "integer", "format": "uint32"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_INT64"),
            R"({"type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]+$"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_UINT64"),
            R"({"type": ["string", "integer"], "format": "uint64", "pattern": "^[0-9]+$"})"_json);
  EXPECT_EQ(TypeOf("type: TYPE_DOUBLE"),
            R"({"oneOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})"_json);
  const auto known = [](const std::string& name) {
    return TypeOf(absl::StrCat("type: TYPE_MESSAGE type_name: \".google.protobuf.", name, "\""));
  };
  EXPECT_EQ(known("Timestamp"), R"({"type": "string", "format": "date-time"})"_json);
  EXPECT_EQ(known("FieldMask"), R"({"type": "string"})"_json);
  EXPECT_EQ(known("Struct"), R"({"type": "object", "additionalProperties": true})"_json);
  EXPECT_EQ(known("Any"), R"({"type": "object", "additionalProperties": true})"_json);
  EXPECT_EQ(known("ListValue"), R"({"type": "array", "items": true})"_json);
  EXPECT_EQ(known("Value"), R"({})"_json);
}

TEST(JsonSchemas, KeysOfMapsAreTextsAndValuesAreOfTheirType) {
  const json schema = SchemaOf(
      R"(field { name: "m" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
                 type_name: ".t.T.MEntry" }
         nested_type { name: "MEntry" options { map_entry: true }
           field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_INT64 }
           field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_BOOL } })");
  EXPECT_EQ(schema.at("t.T").at("properties").at("m"),
            R"({"type": "object", "additionalProperties": {"type": "boolean"}})"_json);
  EXPECT_EQ(schema.size(), 1u);
}

TEST(JsonSchemas, WhatIsDeprecatedSaysSo) {
  const json schema = SchemaOf(
      R"(options { deprecated: true }
         field { name: "a" number: 1 label: LABEL_OPTIONAL type: TYPE_BOOL
                 options { deprecated: true } })");
  EXPECT_EQ(schema.at("t.T").at("deprecated"), true);
  EXPECT_EQ(schema.at("t.T").at("properties").at("a").at("deprecated"), true);
}

// A oneof that stands for `optional` is none to callers.
TEST(JsonSchemas, AnOptionalFieldIsNoOneof) {
  const json schema = SchemaOf(
      R"(field { name: "a" number: 1 label: LABEL_OPTIONAL type: TYPE_BOOL oneof_index: 0
                 proto3_optional: true }
         oneof_decl { name: "_a" })");
  EXPECT_FALSE(schema.at("t.T").contains("description"));
}

TEST(Summarize, TakesTheFirstSentenceAndLeavesTheRest) {
  const auto parts = [](absl::string_view comment) {
    const Summary summary = Summarize(comment);
    return std::vector<std::string>{summary.sentence, summary.rest};
  };
  EXPECT_THAT(parts("One."), ElementsAre("One.", ""));
  EXPECT_THAT(parts("Version 1.5 is. Two.\n\nThree."),
              ElementsAre("Version 1.5 is.", "Two.\n\nThree."));
  EXPECT_THAT(parts("One.\n\nTwo"), ElementsAre("One.", "Two"));
  EXPECT_THAT(parts(""), ElementsAre("", ""));
}

}  // namespace
}  // namespace sessiond::http
