// What can be said of a request without the session: limits and forms of every field, all
// violations at once; and that no bytes whatever make it crash.
#include "server/rpc/validate.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "server/rpc/field_rules.h"
#include "server/rpc/parse.h"
#include "server/rpc/services.h"
#include "state_machine/filter.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/struct_json.h"
#include "state_machine/utf8.h"
#include "tests/commands.h"
#include "tests/refusals.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Key;
using testing::StartsWith;

constexpr char kUuid[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";

// path → what is wrong there
std::map<std::string, std::string> Violations(const absl::Status& status) {
  std::map<std::string, std::string> violations;
  const auto bad = DetailOf<google::rpc::BadRequest>(status);
  for (const auto& violation : bad.field_violations())
    violations[violation.field()] = violation.description();
  return violations;
}

std::vector<std::string> Paths(const absl::Status& status) {
  std::vector<std::string> paths;
  for (const auto& [path, wrong] : Violations(status)) paths.push_back(path);
  return paths;
}

template <class Request>
Request Parsed(const std::string& text) {
  Request request;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

v1::CreateSessionRequest Creation() {
  return Parsed<v1::CreateSessionRequest>("session { workflow: 'execution' }");
}

// What is wrong with a creation after this change of it, as `path` or several.
std::vector<std::string> WrongAfter(const std::function<void(v1::CreateSessionRequest&)>& change) {
  v1::CreateSessionRequest request = Creation();
  change(request);
  const absl::Status status = Validate(request);
  EXPECT_TRUE(status.ok() || ReasonOf(status) == v1::INVALID_FIELD) << status;
  return Paths(status);
}

TEST(Validate, TheIdComesFirst) {
  for (const char* id : {"", "x", "0192F3C4-9F2E-7ABC-8DEF-0123456789AB"}) {
    v1::AdvanceSessionRequest advance;
    advance.set_session_id(id);
    advance.set_actor("\n");
    EXPECT_EQ(ReasonOf(Validate(advance)), v1::INVALID_FORMAT) << id;
    v1::UpdateSessionRequest update;
    update.mutable_session()->set_session_id(id);
    EXPECT_EQ(ReasonOf(Validate(update)), v1::INVALID_FORMAT) << id;
    v1::CreateSessionRequest creation = Creation();
    creation.set_session_id(id);
    EXPECT_EQ(Validate(creation).ok(), *id == '\0') << id;
  }
  v1::AdvanceSessionRequest advance;
  advance.set_session_id(kUuid);
  EXPECT_THAT(Paths(Validate(advance)), ElementsAre("target_stage"));
}

TEST(Validate, ListsEveryViolationAtOnce) {
  const auto request = Parsed<v1::CreateSessionRequest>(R"pb(
    session {
      namespace: "Upper"
      owner_id: "a\nb"
      labels { key: "Bad Key" value: "x" }
      context {
        fields {
          key: "k"
          value {}
        }
      }
    }
    request_id: "with space"
  )pb");
  const absl::Status status = Validate(request);
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  EXPECT_THAT(Paths(status),
              ElementsAre("request_id", "session.context.k", "session.labels.Bad Key",
                          "session.namespace", "session.owner_id", "session.workflow"));
}

// There is room for some of them. A bug in the calling program is the first that is said, however
// far behind it comes.
TEST(Validate, ListsTheFirstOfManyViolationsAndWhatIsKnownBeforeThem) {
  auto request = Parsed<v1::ImportSessionsRequest>(
      absl::StrCat("session { workflow: 'execution' session_id: '", kUuid, "' }"));
  // Without category and severity: two violations each.
  for (int i = 0; i < 300; ++i) request.add_errors()->set_user_message("m");
  request.add_errors()->set_user_message(" ");
  const absl::Status status = Validate(request);
  EXPECT_THAT(std::string(status.message()),
              StartsWith("Error must have user-friendly message: errors[300].user_message "));
  const auto violations = Violations(status);
  EXPECT_THAT(violations, Contains(Key("errors[300].user_message")));
  EXPECT_THAT(violations, Contains(Key("errors[0].category")));
  EXPECT_LT(violations.size(), 200u);
}

#if !defined(__SANITIZE_ADDRESS__)  // It keeps what was freed.
// In bytes, and at most: since the last time it was asked.
std::size_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  std::size_t kilobytes = 0;
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") status >> kilobytes;
  }
  EXPECT_TRUE(std::ofstream("/proc/self/clear_refs") << "5" << std::flush);
  return kilobytes << 10;
}

// Each of them takes many times as much memory as it has bytes in the request.
TEST(Validate, WhatIsWrongTakesNoMoreMemoryThanARefusalHasRoomFor) {
  auto import = Parsed<v1::ImportSessionsRequest>(
      absl::StrCat("session { workflow: 'execution' session_id: '", kUuid, "' }"));
  for (int i = 0; i < 200'000; ++i) import.add_errors();  // Three of them each.
  auto update =
      Parsed<v1::UpdateSessionRequest>(absl::StrCat("session { session_id: '", kUuid, "' }"));
  for (int i = 0; i < 400'000; ++i) update.add_remove_label_keys("x");
  PeakMemory();
  const std::size_t before = PeakMemory();
  EXPECT_EQ(ReasonOf(Validate(import)), v1::INVALID_FIELD);
  EXPECT_EQ(ReasonOf(Validate(update)), v1::INVALID_FIELD);
  EXPECT_LT(PeakMemory(), before + (8 << 20));
}
#endif

struct Length {
  const char* path;
  std::size_t bytes_max;
  std::function<void(v1::CreateSessionRequest&, std::string)> set;
};

TEST(Validate, TextsMayBeAsLongAsTheContractSays) {
  using R = v1::CreateSessionRequest;
  const std::vector<Length> lengths = {
      {"session.namespace", 63,
       [](R& r, std::string s) { r.mutable_session()->set_namespace_(s); }},
      {"session.owner_id", 256, [](R& r, std::string s) { r.mutable_session()->set_owner_id(s); }},
      {"session.owner_display_name", 256,
       [](R& r, std::string s) { r.mutable_session()->set_owner_display_name(s); }},
      {"request_id", 128, [](R& r, std::string s) { r.set_request_id(s); }},
      {"actor", 256, [](R& r, std::string s) { r.set_actor(s); }},
      {"reason", 4096, [](R& r, std::string s) { r.set_reason(s); }},
      {"session.labels.k", 256,
       [](R& r, std::string s) { (*r.mutable_session()->mutable_labels())["k"] = s; }},
      {"session.references.k", 256,
       [](R& r, std::string s) { (*r.mutable_session()->mutable_references())["k"] = s; }},
  };
  for (const Length& length : lengths) {
    const auto wrong = [&](std::size_t bytes) {
      return WrongAfter([&](R& request) { length.set(request, std::string(bytes, 'x')); });
    };
    EXPECT_THAT(wrong(1), IsEmpty()) << length.path;
    EXPECT_THAT(wrong(length.bytes_max), IsEmpty()) << length.path;
    EXPECT_THAT(wrong(length.bytes_max + 1), ElementsAre(length.path));
  }
  const auto label = [](std::size_t bytes) {
    return WrongAfter([&](R& request) {
      (*request.mutable_session()->mutable_labels())[std::string(bytes, 'k')] = "v";
    });
  };
  EXPECT_THAT(label(63), IsEmpty());
  EXPECT_EQ(label(64).size(), 1u);
}

TEST(Validate, TextsAreMadeOfWhatTheContractSays) {
  using R = v1::CreateSessionRequest;
  const std::string nul("a\0b", 3);
  const auto wrong = [](const std::function<void(R&)>& change) { return WrongAfter(change); };
  for (const std::string& text :
       {nul, std::string("a\nb"), std::string("\x7F"), std::string("\u0085")}) {
    EXPECT_THAT(wrong([&](R& r) { r.mutable_session()->set_owner_id(text); }),
                ElementsAre("session.owner_id"));
    EXPECT_THAT(wrong([&](R& r) { r.set_actor(text); }), ElementsAre("actor"));
    EXPECT_THAT(wrong([&](R& r) { (*r.mutable_session()->mutable_references())["k"] = text; }),
                ElementsAre("session.references.k"));
    EXPECT_THAT(wrong([&](R& r) { r.set_request_id(text); }), ElementsAre("request_id"));
  }
  EXPECT_THAT(wrong([&](R& r) { r.mutable_session()->set_owner_id("Ünï códé 😀"); }), IsEmpty());
  EXPECT_THAT(wrong([&](R& r) { r.set_reason("two\nlines\tand a tab"); }), IsEmpty());
  EXPECT_THAT(wrong([&](R& r) { r.set_reason(nul); }), ElementsAre("reason"));
  EXPECT_THAT(wrong([&](R& r) { (*r.mutable_session()->mutable_labels())["k"] = nul; }),
              ElementsAre("session.labels.k"));
  EXPECT_THAT(wrong([&](R& r) { r.set_request_id("ü"); }), ElementsAre("request_id"));
  for (const char* name : {"-", "a_b", "A", "1", "a.b", "ä"}) {
    EXPECT_THAT(wrong([&](R& r) { r.mutable_session()->set_namespace_(name); }),
                ElementsAre("session.namespace"))
        << name;
  }
  for (const char* key : {"Team", "1", "a b", "ä", ".a", "-"}) {
    EXPECT_EQ(wrong([&](R& r) { (*r.mutable_session()->mutable_labels())[key] = "v"; }).size(), 1u)
        << key;
  }
  for (const char* key : {"a", "a.b", "a-b", "a_b", "a9"}) {
    EXPECT_THAT(wrong([&](R& r) { (*r.mutable_session()->mutable_labels())[key] = "v"; }),
                IsEmpty())
        << key;
  }
}

TEST(Validate, AReferenceHasAValue) {
  EXPECT_THAT(WrongAfter([](v1::CreateSessionRequest& request) {
                (*request.mutable_session()->mutable_references())["job_posting"] = "";
              }),
              ElementsAre("session.references.job_posting"));
}

TEST(Validate, LabelsAreAtMost64) {
  const auto labels = [](int count) {
    return WrongAfter([&](v1::CreateSessionRequest& request) {
      for (int i = 0; i < count; ++i)
        (*request.mutable_session()->mutable_labels())[absl::StrCat("k", i)] = "v";
    });
  };
  EXPECT_THAT(labels(64), IsEmpty());
  EXPECT_THAT(labels(65), ElementsAre("session.labels"));
}

Value Nested(int levels) {
  Value value = NumberValue(1);
  for (int i = 0; i < levels; ++i) {
    Value outer;
    *(*outer.mutable_struct_value()->mutable_fields())["k"].mutable_list_value()->add_values() =
        value;
    value = outer;
  }
  return value;
}

TEST(Validate, StructsHaveValuesThatJsonCanWrite) {
  const auto context = [](const Value& value) {
    return WrongAfter([&](v1::CreateSessionRequest& request) {
      (*request.mutable_session()->mutable_context()->mutable_fields())["k"] = value;
    });
  };
  EXPECT_THAT(context(NullValue()), IsEmpty());
  EXPECT_THAT(context(Value()), ElementsAre("session.context.k"));
  for (const double number :
       {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(context(NumberValue(number)), ElementsAre("session.context.k"));
  }
  EXPECT_THAT(context(StringValue(absl::string_view("a\0b", 3))), ElementsAre("session.context.k"));
  EXPECT_THAT(context(StringValue("a\nb\x01")), IsEmpty());
  Value key;
  (*key.mutable_struct_value()->mutable_fields())[std::string("\0", 1)] = NumberValue(1);
  EXPECT_EQ(context(key).size(), 1u);
  Value list;
  list.mutable_list_value()->add_values();
  EXPECT_THAT(context(list), ElementsAre("session.context.k.0"));
  // The context is the first level; each of these adds two.
  EXPECT_THAT(context(Nested(7)), IsEmpty());
  EXPECT_EQ(context(Nested(8)).size(), 1u);
  EXPECT_THAT(context(StringValue(std::string((64 << 10) - 8, 'x'))), IsEmpty());
  EXPECT_THAT(context(StringValue(std::string((64 << 10) - 7, 'x'))),
              ElementsAre("session.context"));
}

TEST(Validate, AnUpdateChangesSomething) {
  v1::UpdateSessionRequest request;
  request.mutable_session()->set_session_id(kUuid);
  EXPECT_EQ(ReasonOf(Validate(request)), v1::INVALID_FIELD_MASK);
  (*request.mutable_counter_increments())["n"] = 1;
  EXPECT_TRUE(Validate(request).ok());
  request.mutable_update_mask()->add_paths("stage");
  EXPECT_EQ(ReasonOf(Validate(request)), v1::INVALID_FIELD_MASK);
  request.mutable_update_mask()->set_paths(0, "hold");
  EXPECT_TRUE(Validate(request).ok());
  request.set_etag("r1");
  request.mutable_session()->set_etag("r2");
  EXPECT_THAT(Paths(Validate(request)), ElementsAre("etag"));
  request.mutable_session()->set_etag("r1");
  EXPECT_TRUE(Validate(request).ok());
}

TEST(Validate, ALookUpAsksForOneToAThousandIdsOfAnyForm) {
  v1::LookupSessionsRequest request;
  EXPECT_THAT(Paths(Validate(request)), ElementsAre("session_ids"));
  for (int i = 0; i < 1000; ++i) request.add_session_ids(i == 0 ? "not an id\n" : kUuid);
  EXPECT_TRUE(Validate(request).ok());
  request.add_session_ids(kUuid);
  EXPECT_THAT(Paths(Validate(request)), ElementsAre("session_ids"));
}

TEST(Validate, PagesAndEnumsAreWithinTheirBounds) {
  v1::ListSessionsRequest list;
  EXPECT_TRUE(Validate(list).ok());
  list.set_page_size(-1);
  list.set_namespace_("No");
  list.set_filter(std::string(4097, 'x'));
  EXPECT_THAT(Paths(Validate(list)), ElementsAre("filter", "namespace", "page_size"));
  list.Clear();
  list.set_namespace_("-");
  list.set_page_size(2'000'000'000);
  EXPECT_TRUE(Validate(list).ok());
  v1::CountSessionsRequest count;
  count.set_group_by(static_cast<v1::CountSessionsRequest::GroupBy>(77));
  EXPECT_THAT(Paths(Validate(count)), ElementsAre("group_by"));
}

// -----------------------------------------------------------------------------------------------
// rules

// All fields of the contract by their full names without its package, such as
// `SessionError.user_message`; those of requests, and of what these are made of, alone.
void AddFields(const Descriptor& type, std::map<std::string, const FieldDescriptor*>* fields) {
  if (type.file()->package() != "sessiond.v1" || type.options().map_entry()) return;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const std::string name = absl::StrCat(type.name(), ".", field->name());
    const bool is_new = fields->emplace(name, field).second;
    if (is_new && field->message_type() != nullptr) AddFields(*field->message_type(), fields);
  }
}

std::map<std::string, const FieldDescriptor*> FieldsOfRequests() {
  std::map<std::string, const FieldDescriptor*> fields;
  for (const std::string& name : ServiceNames()) {
    const auto* service = DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; i < service->method_count(); ++i)
      AddFields(*service->method(i)->input_type(), &fields);
  }
  return fields;
}

const v1::FieldRules& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rules);
}

TEST(Rules, SayNothingThatIsNoneOfTheirFieldsBusiness) {
  for (const auto& [name, field] : FieldsOfRequests()) {
    const v1::FieldRules& rules = RulesOf(*field);
    const bool is_map = field->is_map();
    const bool is_list = field->is_repeated() && !is_map;
    const auto* value = is_map ? field->message_type()->map_value() : field;
    const auto* message = field->is_repeated() ? nullptr : field->message_type();
    const bool has_text = value->type() == FieldDescriptor::TYPE_STRING;
    EXPECT_TRUE(has_text || (rules.text() == 0 && rules.bytes_max() == 0)) << name;
    EXPECT_EQ(is_map, rules.key() != 0) << name << ": what are its keys made of?";
    EXPECT_TRUE(is_list || (rules.items_min() == 0 && rules.items_max() == 0)) << name;
    EXPECT_FALSE(field->is_repeated() && rules.required()) << name << ": items_min says that";
    EXPECT_TRUE(field->type() == FieldDescriptor::TYPE_INT32 || !rules.not_negative()) << name;
    EXPECT_TRUE(message == google::protobuf::Duration::descriptor() || rules.seconds_max() == 0)
        << name;
    EXPECT_LE(rules.seconds_min(), rules.seconds_max()) << name;
    EXPECT_TRUE(message == v1::Session::descriptor() || !rules.names_session()) << name;
    EXPECT_FALSE(is_list && rules.text() == v1::FieldRules::SESSION_ID) << name;
  }
}

// Where nobody reads them, rules would promise what is not so.
TEST(Rules, AreOfRequestsAlone) {
  const auto of_requests = FieldsOfRequests();
  for (const std::string& service : ServiceNames()) {
    const auto* file = DescriptorPool::generated_pool()->FindServiceByName(service)->file();
    for (int i = 0; i < file->message_type_count(); ++i) {
      std::map<std::string, const FieldDescriptor*> fields;
      AddFields(*file->message_type(i), &fields);
      for (const auto& [name, field] : fields) {
        EXPECT_TRUE(of_requests.contains(name) || !field->options().HasExtension(v1::rules))
            << name;
      }
    }
  }
}

// As they were published, by the name of a field; `Message.name` where one name has two meanings.
TEST(Rules, TextsAreWhatWasPublished) {
  using R = v1::FieldRules;
  struct Text {
    R::Text text;
    int32_t bytes_max;
  };
  std::map<std::string, Text> published = {
      {"session_id", {R::SESSION_ID, 64}},        {"session_ids", {R::ANY, 4 << 20}},
      {"namespace", {R::NAMESPACES, 63}},         {"Session.namespace", {R::NAMESPACE, 63}},
      {"request_id", {R::PRINTABLE, 128}},        {"etag", {R::PRINTABLE, 64}},
      {"page_token", {R::PRINTABLE, 1024}},       {"resume_token", {R::PRINTABLE, 16384}},
      {"order_by", {R::TEXT_UNSPECIFIED, 256}},   {"content", {R::TEXT_UNSPECIFIED, 1 << 20}},
      {"labels", {R::TEXT_UNSPECIFIED, 256}},     {"references", {R::VALUE, 256}},
      {"user_message", {R::NOT_BLANK, 4096}},     {"recovery_actions", {R::NOT_BLANK, 1024}},
      {"textproto", {R::ANY, 1 << 20}},           {"remove_context_keys", {R::NAME, 256}},
      {"set_labels", {R::TEXT_UNSPECIFIED, 256}}, {"remove_label_keys", {R::LABEL_KEY, 63}},
      {"set_references", {R::VALUE, 256}},        {"remove_reference_keys", {R::IDENTIFIER, 63}},
  };
  for (const char* name : {"actor", "owner_id", "owner_display_name", "artifact_id",
                           "related_file_id", "related_ticket_id", "author", "resolver",
                           "display_name", "error_code", "DetachReferenceRequest.value"})
    published[name] = {R::NAME, 256};
  for (const char* name : {"workflow", "target_stage", "advance_to_stage", "operation_stage",
                           "task_type", "SessionMessage.type", "question_type",
                           "DetachReferenceRequest.name", "GetWorkflowRequest.name"})
    published[name] = {R::IDENTIFIER, 63};
  for (const char* name : {"error_id", "task_id", "message_id"}) published[name] = {R::UUID, 36};
  for (const char* name : {"reason", "fail_reason", "filter", "resolution", "uri", "stage",
                           "stage_display_name", "next_stage", "status"})
    published[name] = {R::TEXT_UNSPECIFIED, 4096};

  std::set<std::string> seen;
  for (const auto& [name, field] : FieldsOfRequests()) {
    const auto* value = field->is_map() ? field->message_type()->map_value() : field;
    // CheckWorkflow answers for what is in one.
    const bool is_workflow = field->file() == v1::Workflow::descriptor()->file();
    if (value->type() != FieldDescriptor::TYPE_STRING || is_workflow) continue;
    const std::string& known = published.contains(name) ? name : field->name();
    ASSERT_TRUE(published.contains(known)) << name << ": what is it made of, and how long?";
    seen.insert(known);
    const auto& plans = PlanOf(*field->containing_type()).fields;
    const auto plan = std::find_if(plans.begin(), plans.end(),
                                   [&](const FieldPlan& each) { return each.field == field; });
    EXPECT_EQ(plan->rules.text(), published[known].text) << name;
    EXPECT_EQ(plan->rules.bytes_max(), published[known].bytes_max) << name;
  }
  EXPECT_EQ(seen.size(), published.size());
}

// -----------------------------------------------------------------------------------------------
// fuzz

// Every request of the contract, filled.
std::vector<std::unique_ptr<Message>> Seeds() {
  std::vector<std::unique_ptr<Message>> seeds;
  const auto add = [&](auto request, const std::string& text) {
    EXPECT_TRUE(TextFormat::ParseFromString(text, &request)) << text;
    EXPECT_TRUE(Validate(request).ok()) << Validate(request) << text;
    seeds.push_back(std::make_unique<decltype(request)>(request));
  };
  const std::string id = absl::StrCat("session_id: '", kUuid, "' ");
  const std::string common = "request_id: 'q' actor: 'anna' reason: 'why not' ";
  const std::string session = absl::StrCat(
      "session { ", id,
      "workflow: 'execution' namespace: 'n' owner_id: 'o' owner_display_name: 'O' hold: true "
      "state: PAUSED create_time { seconds: 5 nanos: 6 } labels { key: 'a' value: 'b' } "
      "references { key: 'r' value: 's' } counters { key: 'c' value: 1 } context { "
      "fields { key: 'x' value { string_value: 'y' } } fields { key: 'l' value { list_value { "
      "values { number_value: 1 } values { struct_value { fields { key: 'z' value { null_value: "
      "NULL_VALUE } } } } } } } } } ");
  add(v1::CreateSessionRequest(), session + common + "creating: true " + id);
  add(v1::UpdateSessionRequest(),
      session + common +
          "update_mask { paths: 'labels.`a.b`' paths: 'hold' } counter_increments { key: 'n' "
          "value: -3 } etag: 'r1' set_context { fields { key: 'x' value { bool_value: true } } } "
          "remove_context_keys: 'l' set_labels { key: 'b' value: 'c' } remove_label_keys: 'd' "
          "set_references { key: 'r' value: 's' } remove_reference_keys: 't'");
  add(v1::ActivateSessionRequest(), id + common + "etag: 'r1'");
  add(v1::AdvanceSessionRequest(), id + common + "target_stage: 'upload'");
  add(v1::PauseSessionRequest(), id + common);
  add(v1::ResumeSessionRequest(), id + common);
  add(v1::StopSessionRequest(), id + common);
  add(v1::FailSessionRequest(), id + common);
  add(v1::DeleteSessionRequest(), id + common + "force: true");
  add(v1::UndeleteSessionRequest(), id + common);
  add(v1::GetSessionRequest(), id + "include_deleted: true");
  add(v1::LookupSessionsRequest(), absl::StrCat("session_ids: '", kUuid, "' session_ids: 'x'"));
  add(v1::ListSessionsRequest(),
      "namespace: '-' filter: 'owner_id = \"u\" AND NOT labels.team:*' order_by: 'state desc' "
      "page_size: 10 page_token: 'abc'");
  add(v1::CountSessionsRequest(), "filter: 'hold = true' group_by: STATE");
  add(v1::ListSessionEventsRequest(), id + "page_size: 3 page_token: 'abc'");
  return seeds;
}

std::string Mutate(std::string bytes, std::mt19937_64& random) {
  const auto pick = [&](std::size_t count) { return count == 0 ? 0 : random() % count; };
  for (std::size_t edits = 1 + pick(4); edits > 0; --edits) {
    const std::size_t at = pick(bytes.size() + 1);
    switch (pick(6)) {
      case 0:
        bytes.insert(at, 1, static_cast<char>(random()));
        break;
      case 1:
        bytes.erase(at, 1 + pick(4));
        break;
      case 2:
        bytes.insert(at, bytes.substr(pick(bytes.size()), pick(40)));
        break;
      case 3:
        bytes.resize(at);
        break;
      default:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1U << pick(8)));
    }
  }
  return bytes;
}

// Every string a validated request carries, held against what the database can take.
void ExpectStorable(const Message& message) {
  const auto& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    // Ids of a look-up that are no ids never reach the database.
    if (field->name() == "session_ids") continue;
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
        const std::string text = field->is_repeated()
                                     ? reflection.GetRepeatedString(message, field, i)
                                     : reflection.GetString(message, field);
        EXPECT_TRUE(IsValidUtf8(text)) << field->full_name();
        EXPECT_EQ(text.find('\0'), std::string::npos) << field->full_name();
      } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
        ExpectStorable(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                            : reflection.GetMessage(message, field));
      }
    }
  }
}

// What a handler does with a request that was let through.
void Handle(const Message& request) {
  ExpectStorable(request);
  const auto try_command = [](const Command& command) {
    const auto workflow = BuiltinWorkflow("execution");
    Aggregate aggregate;
    const auto decision = Decide(*workflow, aggregate, command, absl::UnixEpoch());
    if (decision.ok()) ToJson(decision->events[0].changes());
    v1::Session session;
    session.set_session_id(kUuid);
    session.set_state(v1::Session::CREATING);
    *session.mutable_update_time() = google::protobuf::Timestamp();
    aggregate.session = session;
    const auto change = Decide(*workflow, aggregate, command, absl::UnixEpoch());
    if (change.ok()) ToJson(change->events[0].changes());
  };
  if (const auto* create = dynamic_cast<const v1::CreateSessionRequest*>(&request))
    try_command(Create(BuiltinWorkflow("execution"), *create));
  if (const auto* update = dynamic_cast<const v1::UpdateSessionRequest*>(&request))
    try_command(About(kUuid, *update));
  if (const auto* remove = dynamic_cast<const v1::DeleteSessionRequest*>(&request))
    try_command(About(kUuid, *remove));
  if (const auto* list = dynamic_cast<const v1::ListSessionsRequest*>(&request)) {
    const auto filter = ParseFilter(list->filter());
    if (filter.ok()) Matches(*filter, v1::Session(), absl::UnixEpoch());
    EXPECT_TRUE(ParseOrder(list->order_by()).ok() || !list->order_by().empty());
  }
}

TEST(Requests, ThatAreMutilatedNeverCrashAndAreRefusedWithAReason) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  int unparsed = 0, invalid = 0, valid = 0;
  for (const auto& original : Seeds()) {
    const std::string bytes = original->SerializeAsString();
    for (int round = 0; round < 4000; ++round) {
      const std::string mutilated = Mutate(bytes, random);
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", ", original->GetTypeName(), ", round ", round));
      grpc::Slice slice(mutilated);
      grpc::ByteBuffer buffer(&slice, 1);
      std::unique_ptr<Message> request(original->New());
      const absl::Status parsed = ParseRequest(buffer, request.get());
      const WireProblem problem = ExplainWire(mutilated, *original->GetDescriptor());
      if (!parsed.ok()) {
        EXPECT_EQ(ReasonOf(parsed), v1::INVALID_FIELD);
        ++unparsed;
        continue;
      }
      EXPECT_EQ(problem.sentence, "") << problem.path << " of what can be parsed";
      const absl::Status status = Validate(*request);
      if (!status.ok()) {
        const v1::ErrorReason reason = ReasonOf(status);
        EXPECT_TRUE(reason == v1::INVALID_FIELD || reason == v1::INVALID_FORMAT ||
                    reason == v1::INVALID_FIELD_MASK)
            << status;
        ++invalid;
        continue;
      }
      Handle(*request);
      ++valid;
    }
  }
  EXPECT_GT(unparsed, 1000);
  EXPECT_GT(invalid, 1000);
  EXPECT_GT(valid, 1000);
}

}  // namespace
}  // namespace sessiond::rpc
