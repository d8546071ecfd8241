#include "server/http/proto_comments.h"

#include <cassert>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.pb.h"

namespace sessiond::http {
namespace {

namespace pb = google::protobuf;

// Line breaks within a paragraph are where the contract's lines were full.
std::string Unwrapped(absl::string_view comment) {
  std::string text;
  bool new_paragraph = false;
  for (absl::string_view line : absl::StrSplit(comment, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) {
      new_paragraph = true;
      continue;
    }
    if (!text.empty()) text += new_paragraph ? "\n\n" : " ";
    text.append(line.data(), line.size());
    new_paragraph = false;
  }
  return text;
}

template <class Thing>
std::string CommentOf(const Thing* thing) {
  pb::SourceLocation location;
  if (thing == nullptr || !thing->GetSourceLocation(&location)) return "";
  return Unwrapped(location.leading_comments);
}

}  // namespace

ProtoComments::ProtoComments(absl::string_view descriptor_set) {
  pb::FileDescriptorSet files;
  [[maybe_unused]] bool sound =
      files.ParseFromArray(descriptor_set.data(), static_cast<int>(descriptor_set.size()));
  for (const pb::FileDescriptorProto& file : files.file())
    sound = pool_.BuildFile(file) != nullptr && sound;
  assert(sound && "the descriptor set is protoc's own");
}

std::string ProtoComments::Of(const pb::Descriptor& type) const {
  return CommentOf(pool_.FindMessageTypeByName(type.full_name()));
}
std::string ProtoComments::Of(const pb::FieldDescriptor& field) const {
  return CommentOf(pool_.FindFieldByName(field.full_name()));
}
std::string ProtoComments::Of(const pb::EnumDescriptor& type) const {
  return CommentOf(pool_.FindEnumTypeByName(type.full_name()));
}
std::string ProtoComments::Of(const pb::EnumValueDescriptor& value) const {
  return CommentOf(pool_.FindEnumValueByName(value.full_name()));
}
std::string ProtoComments::Of(const pb::ServiceDescriptor& service) const {
  return CommentOf(pool_.FindServiceByName(service.full_name()));
}
std::string ProtoComments::Of(const pb::MethodDescriptor& method) const {
  return CommentOf(pool_.FindMethodByName(method.full_name()));
}

Summary Summarize(absl::string_view comment) {
  for (std::size_t end = 1; end < comment.size(); ++end) {
    if (comment[end - 1] != '.' || !absl::ascii_isspace(static_cast<unsigned char>(comment[end])))
      continue;
    return {std::string(comment.substr(0, end)),
            std::string(absl::StripLeadingAsciiWhitespace(comment.substr(end)))};
  }
  return {std::string(comment), ""};
}

}  // namespace sessiond::http
