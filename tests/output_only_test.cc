// What the contract marks as OUTPUT ONLY, and nothing else, is dropped from requests: its options
// held against its own comments.
#include "server/rpc/output_only.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/message_differencer.h"
#include "sessiond/v1/artifact_service.pb.h"
#include "sessiond/v1/error_service.pb.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/task_service.pb.h"
#include "sessiond/v1/workflow_service.pb.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

// The fields of a type whose comments, in its .proto, have the mark.
std::set<std::string> MarkedFields(const Descriptor& type) {
  const auto root = std::filesystem::path(__FILE__).parent_path().parent_path();
  std::ifstream file(root / "proto" / type.file()->name());
  std::set<std::string> marked;
  bool within = false, has_mark = false;
  for (std::string line; std::getline(file, line);) {
    if (line == absl::StrCat("message ", type.name(), " {")) within = true;
    if (!within) continue;
    if (line == "}") break;
    const absl::string_view text = absl::StripLeadingAsciiWhitespace(line);
    if (absl::StartsWith(text, "//")) {
      has_mark = has_mark || absl::StrContains(text, "OUTPUT ONLY");
      continue;
    }
    // `  int32 sequence = 26 […];`: the word before the number.
    const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
    const auto equals = std::find(words.begin(), words.end(), "=");
    if (has_mark && equals != words.end()) marked.insert(*(equals - 1));
    has_mark = false;
  }
  EXPECT_TRUE(within) << type.file()->name();
  return marked;
}

// Gives every field something; of messages, what their fields are.
void Fill(Message& message, int depth = 3) {
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated()) {
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING:
          reflection.AddString(&message, field, "x");
          break;
        case FieldDescriptor::CPPTYPE_ENUM:
          reflection.AddEnumValue(&message, field, 1);
          break;
        case FieldDescriptor::CPPTYPE_MESSAGE:
          if (depth > 0) Fill(*reflection.AddMessage(&message, field), depth - 1);
          break;
        default:
          break;
      }
      continue;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        reflection.SetString(&message, field, "x");
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        reflection.SetInt32(&message, field, 1);
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        reflection.SetInt64(&message, field, 1);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, field, 1);
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection.SetBool(&message, field, true);
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        reflection.SetEnumValue(&message, field, 1);
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (depth > 0) Fill(*reflection.MutableMessage(&message, field), depth - 1);
        break;
      default:
        break;
    }
  }
}

// The fields that `filled` has and `left` has no more.
std::set<std::string> Lost(const Message& filled, const Message& left) {
  std::vector<const FieldDescriptor*> fields;
  filled.GetReflection()->ListFields(filled, &fields);
  std::set<std::string> lost;
  for (const FieldDescriptor* field : fields) {
    const bool there = field->is_repeated() ? left.GetReflection()->FieldSize(left, field) > 0
                                            : left.GetReflection()->HasField(left, field);
    if (!there) lost.insert(field->name());
  }
  EXPECT_EQ(fields.size(), static_cast<std::size_t>(filled.GetDescriptor()->field_count()));
  return lost;
}

// What is lost of the resource that `get` finds in a request; of the request itself nothing is.
template <class Request, class Get>
std::set<std::string> LostOf(Get get) {
  Request filled;
  Fill(filled);
  Request left = filled;
  DropOutputOnly(left);
  std::vector<const FieldDescriptor*> before, after;
  filled.GetReflection()->ListFields(filled, &before);
  left.GetReflection()->ListFields(left, &after);
  EXPECT_EQ(before, after);
  // Nothing is made of nothing.
  Request empty;
  DropOutputOnly(empty);
  EXPECT_EQ(empty.ByteSizeLong(), 0);
  return Lost(get(filled), get(left));
}

TEST(OutputOnly, WhatTheContractMarksIsDroppedAndNothingElse) {
  const auto first = [](const auto& request) -> const auto& {
    if constexpr (requires { request.artifacts(0); }) {
      return request.artifacts(0);
    } else {
      return request.messages(0);
    }
  };
  const auto error = [](const auto& request) -> const auto& { return request.error(); };
  const auto session = [](const auto& request) -> const auto& { return request.session(); };
  const std::set<std::string> of_session = MarkedFields(*v1::Session::descriptor());
  ASSERT_GE(of_session.size(), 20);
  EXPECT_EQ(LostOf<v1::CreateSessionRequest>(session), of_session);
  // There they are input: see session.proto and UpdateSessionRequest.
  std::set<std::string> of_update = of_session;  // And what the mask leaves out.
  of_update.merge(std::set<std::string>{"workflow", "namespace", "owner_id", "owner_display_name",
                                        "context", "references", "labels", "hold"});
  of_update.erase("session_id");
  of_update.erase("etag");
  EXPECT_EQ(LostOf<v1::UpdateSessionRequest>(session), of_update);
  EXPECT_EQ(LostOf<v1::AddArtifactsRequest>(first),
            MarkedFields(*v1::SessionArtifact::descriptor()));
  EXPECT_EQ(LostOf<v1::AppendMessagesRequest>(first),
            MarkedFields(*v1::SessionMessage::descriptor()));
  EXPECT_EQ(LostOf<v1::RecordErrorRequest>(error), MarkedFields(*v1::SessionError::descriptor()));
  EXPECT_EQ(LostOf<v1::FailTaskRequest>(error), MarkedFields(*v1::SessionError::descriptor()));
  EXPECT_EQ(LostOf<v1::CreateWorkflowRequest>(
                [](const auto& request) -> const auto& { return request.workflow(); }),
            MarkedFields(*v1::Workflow::descriptor()));
}

TEST(OutputOnly, AnUpdateIsWhatItsMaskNames) {
  v1::UpdateSessionRequest request;
  Fill(request);
  (*request.mutable_session()->mutable_labels())["team"] = "a";
  request.mutable_update_mask()->clear_paths();
  for (const char* path : {"labels.team", "hold", "context"}) {
    request.mutable_update_mask()->add_paths(path);
  }
  DropOutputOnly(request);
  std::vector<const FieldDescriptor*> fields;
  request.session().GetReflection()->ListFields(request.session(), &fields);
  std::set<std::string> left;
  for (const FieldDescriptor* field : fields) left.insert(field->name());
  EXPECT_EQ(left, (std::set<std::string>{"session_id", "etag", "labels", "hold", "context"}));
}

// Of one key no other is sent along: two updates that differ in those alone are the same.
TEST(OutputOnly, OfAMaskedKeyNoOtherIsInput) {
  const auto left = [](const std::vector<std::string>& paths, const char* aside) {
    v1::UpdateSessionRequest request;
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    v1::Session& session = *request.mutable_session();
    for (auto* map : {session.mutable_labels(), session.mutable_references()}) {
      (*map)["team"] = "a";
      (*map)["a.b"] = "b";
      (*map)["aside"] = aside;
    }
    auto& context = *session.mutable_context()->mutable_fields();
    context["team"].set_string_value("a");
    context["aside"].set_string_value(aside);
    DropOutputOnly(request);
    return request.session();
  };
  const auto is_same = [&left](const std::vector<std::string>& paths) {
    return MessageDifferencer::Equals(left(paths, "now"), left(paths, "then"));
  };
  const std::vector<std::string> paths = {"labels.team", "references.`a.b`", "context.team"};
  EXPECT_TRUE(is_same(paths));
  const v1::Session session = left(paths, "now");
  ASSERT_EQ(session.labels_size(), 1);
  EXPECT_EQ(session.labels().at("team"), "a");
  ASSERT_EQ(session.references_size(), 1);
  EXPECT_EQ(session.references().at("a.b"), "b");
  ASSERT_EQ(session.context().fields_size(), 1);
  EXPECT_EQ(session.context().fields().at("team").string_value(), "a");
  // Of several all, of a whole field all there is, and of none nothing.
  EXPECT_EQ(left({"labels.team", "labels.`a.b`"}, "now").labels_size(), 2);
  EXPECT_FALSE(is_same({"labels"}));
  EXPECT_EQ(left({"hold"}, "now").ByteSizeLong(), 0);
  EXPECT_EQ(left({"context.gone", "labels.gone"}, "now").ByteSizeLong(), 0);
}

// A message of the contract that carries a resource, and that nobody thought of above.
TEST(OutputOnly, NoRequestWithAResourceIsForgotten) {
  const std::set<std::string> known = {
      "CreateSessionRequest",    "UpdateSessionRequest", "AddArtifactsRequest",
      "AppendMessagesRequest",   "RecordErrorRequest",   "FailTaskRequest",
      "CreateWorkflowRequest",
      "ValidateWorkflowRequest",  // Answers for what is in it alone.
      "ImportSessionsRequest",    // Its resources say all that they are.
  };
  for (const auto* file :
       {v1::CreateSessionRequest::descriptor()->file(), v1::FailTaskRequest::descriptor()->file(),
        v1::RecordErrorRequest::descriptor()->file(), v1::AddArtifactsRequest::descriptor()->file(),
        v1::AppendMessagesRequest::descriptor()->file(),
        v1::CreateWorkflowRequest::descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      const Descriptor& type = *file->message_type(i);
      if (!absl::EndsWith(type.name(), "Request")) continue;
      for (int j = 0; j < type.field_count(); ++j) {
        const Descriptor* of_field = type.field(j)->message_type();
        if (of_field == nullptr || of_field->file()->package() != "sessiond.v1" ||
            type.field(j)->is_map()) {
          continue;
        }
        EXPECT_TRUE(known.contains(type.name())) << type.name() << "." << type.field(j)->name();
      }
    }
  }
}

}  // namespace
}  // namespace sessiond::rpc
