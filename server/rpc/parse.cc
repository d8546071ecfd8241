#include "server/rpc/parse.h"

#include <grpcpp/impl/codegen/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/utf8.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// A level of a Struct is three messages deep (Struct, entry, Value). Deeper messages are refused
// while they are parsed; the limit that callers know, 16 levels of a Struct, is checked with all
// others in validate.cc.
constexpr int kMessageDepthMax = 3 * (kStructDepthMax + 4);

// Strings and messages of a request, with all that lies below them. One in memory takes up to a
// hundred bytes, on the wire two. More has only a request of nothing but short keys and numbers:
// one of 4 MiB has 700,000.
constexpr int kFieldsMax = 500'000;

std::string Join(absl::string_view path, absl::string_view name) {
  return path.empty() ? std::string(name) : absl::StrCat(path, ".", name);
}

// A path that a person can read: a very deep one is cut to its beginning.
std::string Readable(const std::string& path) {
  constexpr std::size_t kPathBytesMax = 120;
  if (path.size() <= kPathBytesMax) return path;
  return path.substr(0, path.rfind('.', kPathBytesMax));
}

// Whether a field is a name of the contract's, and not of what callers put into it.
bool IsNamed(const FieldDescriptor& field) {
  const Descriptor& in = *field.containing_type();
  return !in.options().map_entry() && in.file()->name() != "google/protobuf/struct.proto";
}

// Takes the strings and messages off `left`, until it is negative: then returns the path of the
// field in which that was. What is wrong with the bytes, the parser says.
std::string CountDown(absl::string_view bytes, const Descriptor& type, int depth, int* left) {
  CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                          static_cast<int>(bytes.size()));
  absl::flat_hash_map<const FieldDescriptor*, int> elements;
  while (const uint32_t tag = stream.ReadTag()) {
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&stream, tag)) return "";
      continue;
    }
    uint32_t length = 0;
    if (!stream.ReadVarint32(&length) || length > bytes.size() - stream.CurrentPosition())
      return "";
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    std::string below;
    const bool is_message = field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE;
    const bool is_element =
        is_message && field->is_repeated() && !field->is_map() && IsNamed(*field);
    const int element = is_element ? elements[field]++ : 0;
    --*left;
    if (*left >= 0 && is_message && depth < kMessageDepthMax) {
      below = CountDown(bytes.substr(stream.CurrentPosition(), length), *field->message_type(),
                        depth + 1, left);
    }
    if (*left < 0) {
      if (field == nullptr || !IsNamed(*field)) return below;
      const std::string here =
          is_element ? absl::StrCat(field->name(), "[", element, "]") : field->name();
      return below.empty() ? here : Join(here, below);
    }
    stream.Skip(static_cast<int>(length));
  }
  return "";
}

// INVALID_FIELD: at the field in which there are too many. Each has at least two bytes.
absl::Status CheckFields(absl::string_view bytes, const Descriptor& type) {
  int left = kFieldsMax;
  if (bytes.size() <= 2 * kFieldsMax) return absl::OkStatus();
  const std::string path = CountDown(bytes, type, 0, &left);
  if (left >= 0) return absl::OkStatus();
  return InvalidField(path, absl::StrCat("is too large: with it, the request has more than ",
                                         kFieldsMax, " strings and messages"));
}

// Walks the bytes as a parser would, and stops at the first error.
WireProblem Walk(absl::string_view bytes, const Descriptor& type, const std::string& path,
                 int depth) {
  if (depth > kMessageDepthMax) return {path, "is nested too deeply"};
  CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                          static_cast<int>(bytes.size()));
  while (const uint32_t tag = stream.ReadTag()) {
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const std::string here = field == nullptr ? path : Join(path, field->name());
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&stream, tag)) return {here, "ends in the middle"};
      continue;
    }
    uint32_t length = 0;
    if (!stream.ReadVarint32(&length) || length > bytes.size() - stream.CurrentPosition()) {
      return {here, "ends in the middle"};
    }
    const absl::string_view content = bytes.substr(stream.CurrentPosition(), length);
    stream.Skip(static_cast<int>(length));
    if (field == nullptr) continue;
    if (field->type() == FieldDescriptor::TYPE_STRING && !IsValidUtf8(content))
      return {here, "is not valid UTF-8"};
    if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
      WireProblem problem = Walk(content, *field->message_type(), here, depth + 1);
      if (!problem.sentence.empty()) return problem;
    }
  }
  if (!stream.ConsumedEntireMessage()) return {path, "is not a Protobuf message of its type"};
  return {};
}

}  // namespace

absl::Status TooLarge(uint64_t size, absl::string_view what, std::size_t limit) {
  return Refusal(v1::PAYLOAD_TOO_LARGE,
                 absl::StrCat("The ", what, " has ", size, " bytes, and may have ", limit, "."))
      .With("size", absl::StrCat(size))
      .With("limit", absl::StrCat(limit));
}

WireProblem ExplainWire(absl::string_view bytes, const Descriptor& type) {
  WireProblem problem = Walk(bytes, type, "", 0);
  problem.path = Readable(problem.path);
  return problem;
}

absl::Status ParseRequest(grpc::ByteBuffer& bytes, google::protobuf::Message* request) {
  const std::size_t size = bytes.Length();
  if (size > kMessageBytesMax) return TooLarge(size, "request", kMessageBytesMax);
  // Usually one slice; several are joined, which costs less than parsing a message across them.
  grpc::Slice slice;
  absl::string_view content;
  std::string joined;
  if (bytes.TrySingleSlice(&slice).ok()) {
    content = {reinterpret_cast<const char*>(slice.begin()), slice.size()};
  } else {
    std::vector<grpc::Slice> slices;
    if (bytes.Dump(&slices).ok()) {
      joined.reserve(size);
      for (const grpc::Slice& part : slices)
        joined.append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
    content = joined;
  }
  if (absl::Status many = CheckFields(content, *request->GetDescriptor()); !many.ok()) return many;
  CodedInputStream stream(reinterpret_cast<const uint8_t*>(content.data()),
                          static_cast<int>(content.size()));
  stream.SetRecursionLimit(kMessageDepthMax);
  if (request->ParseFromCodedStream(&stream) && stream.ConsumedEntireMessage()) {
    request->DiscardUnknownFields();
    return absl::OkStatus();
  }
  const WireProblem problem = ExplainWire(content, *request->GetDescriptor());
  return InvalidField(problem.path, problem.sentence.empty()
                                        ? "is not a Protobuf message of its type"
                                        : problem.sentence);
}

absl::Status SerializeReply(const google::protobuf::Message& reply, grpc::ByteBuffer* bytes) {
  return SerializeReply("", reply, bytes);
}

absl::Status SerializeReply(const std::string& part, const google::protobuf::Message& rest,
                            grpc::ByteBuffer* bytes) {
  const std::size_t size = part.size() + rest.ByteSizeLong();
  if (size > kMessageBytesMax) return TooLarge(size, "reply", kMessageBytesMax);
  grpc::Slice slice(size);
  auto* begin = const_cast<uint8_t*>(slice.begin());
  rest.SerializeWithCachedSizesToArray(std::copy(part.begin(), part.end(), begin));
  *bytes = grpc::ByteBuffer(&slice, 1);
  return absl::OkStatus();
}

}  // namespace sessiond::rpc
