#include "server/rpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <cassert>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "db/base/coroutine.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/parse.h"
#include "server/rpc/raw_service.h"
#include "server/rpc/status.h"

namespace sessiond::rpc {
namespace {

namespace pb = google::protobuf;
using Request = grpc::reflection::v1::ServerReflectionRequest;
using Response = grpc::reflection::v1::ServerReflectionResponse;
using OlderRequest = grpc::reflection::v1alpha::ServerReflectionRequest;

// The descriptors, by name. The files are returned as they are in the set, byte for byte.
class Descriptors {
 public:
  Descriptors(absl::string_view descriptor_set, absl::Span<const std::string> services)
      : pool_(&database_), services_(services.begin(), services.end()) {
    services_.insert(services_.end(), {"grpc.reflection.v1.ServerReflection",
                                       "grpc.reflection.v1alpha.ServerReflection"});
    std::sort(services_.begin(), services_.end());
    AddFiles(descriptor_set);
  }

  const std::vector<std::string>& services() const { return services_; }
  const pb::DescriptorPool& pool() const { return pool_; }

  // The file and all its imports, each once, as they are in the set: the pool stores no comments.
  std::vector<absl::string_view> Closure(const pb::FileDescriptor* file) const {
    std::vector<const pb::FileDescriptor*> files = {file};
    std::set<const pb::FileDescriptor*> seen = {file};
    std::vector<absl::string_view> serialized;
    for (std::size_t i = 0; i < files.size(); ++i) {
      serialized.push_back(serialized_.at(files[i]->name()));
      for (int j = 0; j < files[i]->dependency_count(); ++j) {
        if (seen.insert(files[i]->dependency(j)).second) files.push_back(files[i]->dependency(j));
      }
    }
    return serialized;
  }

 private:
  // FileDescriptorSet is `repeated FileDescriptorProto file = 1`: a tag, a length and a file, again
  // and again.
  void AddFiles(absl::string_view descriptor_set) {
    pb::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(descriptor_set.data()),
                                static_cast<int>(descriptor_set.size()));
    uint32_t size = 0;
    while (in.ReadTag() != 0 && in.ReadVarint32(&size)) {
      const absl::string_view bytes = descriptor_set.substr(in.CurrentPosition(), size);
      pb::FileDescriptorProto file;
      const bool parsed = file.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
      assert(parsed && "the embedded descriptor set is protoc's own");
      static_cast<void>(parsed);
      serialized_.emplace(file.name(), bytes);
      database_.Add(bytes.data(), static_cast<int>(bytes.size()));
      in.Skip(static_cast<int>(size));
    }
  }

  absl::flat_hash_map<std::string, absl::string_view> serialized_;
  pb::EncodedDescriptorDatabase database_;
  pb::DescriptorPool pool_;
  std::vector<std::string> services_;
};

// One version of the service. The messages of the two differ in nothing but their package, so that
// both have v1's. A stream reads a request, writes its reply, and reads the next.
class ReflectionService {
 public:
  ReflectionService(const pb::ServiceDescriptor* version, const Descriptors& descriptors,
                    Gate* gate)
      : service_(version), descriptors_(descriptors), gate_(gate) {}

  grpc::Service* service() { return &service_; }

  Detached Serve(CallQueue& queue, GrpcStream::Shared& shared) {
    const CallQueue::Use use(queue);
    grpc::ServerContext context;
    GrpcStream stream(context, queue, shared, /*one_request=*/false);
    Completion accepted([&](void* tag) {
      service_.Accept(/*method=*/0, &context, &stream.wire(), queue.get(), tag);
    });
    if (!co_await accepted) co_return;  // Shutting down.
    Serve(queue, shared);

    Join(&stream);
    Awaitable<absl::Status> answering = AnswerAll(GrpcCaller(context), stream);
    const absl::Status answered = co_await answering;
    Leave(&stream);
    Awaitable<void> finished = stream.Finish(ToGrpcStatus(stream.EndOf(answered)));
    co_await finished;
  }

  void EndStreams() {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    for (RawStream* stream : streams_) stream->Cancel();
  }

 private:
  Awaitable<absl::Status> AnswerAll(GrpcCaller caller, GrpcStream& stream) {
    if (absl::Status let_in = LetIn(caller); !let_in.ok()) co_return let_in;
    for (;;) {
      Awaitable<std::optional<grpc::ByteBuffer>> reading = stream.Read();
      std::optional<grpc::ByteBuffer> bytes = co_await reading;
      if (!bytes.has_value()) co_return absl::OkStatus();
      Request request;
      absl::Status sound = LetIn(caller);
      if (sound.ok()) sound = ParseRequest(*bytes, &request);
      grpc::ByteBuffer reply;
      if (sound.ok()) sound = SerializeReply(Answer(request), &reply);
      if (!sound.ok()) co_return sound;
      Awaitable<bool> writing = stream.Write(reply, Flush::kNow);
      if (!co_await writing) co_return absl::OkStatus();
    }
  }

  Response Answer(const Request& request) const {
    const pb::DescriptorPool& pool = descriptors_.pool();
    Response response;
    response.set_valid_host(request.host());
    *response.mutable_original_request() = request;
    switch (request.message_request_case()) {
      case Request::kFileByFilename:
        Files(pool.FindFileByName(request.file_by_filename()), request.file_by_filename(),
              response);
        break;
      case Request::kFileContainingSymbol:
        Files(pool.FindFileContainingSymbol(request.file_containing_symbol()),
              request.file_containing_symbol(), response);
        break;
      case Request::kFileContainingExtension: {
        const auto& asked = request.file_containing_extension();
        const pb::Descriptor* type = pool.FindMessageTypeByName(asked.containing_type());
        const pb::FieldDescriptor* extension =
            type == nullptr ? nullptr : pool.FindExtensionByNumber(type, asked.extension_number());
        Files(extension == nullptr ? nullptr : extension->file(),
              absl::StrCat(asked.containing_type(), " extension ", asked.extension_number()),
              response);
        break;
      }
      case Request::kAllExtensionNumbersOfType:
        ExtensionNumbers(request.all_extension_numbers_of_type(), response);
        break;
      case Request::kListServices:
        for (const std::string& service : descriptors_.services()) {
          response.mutable_list_services_response()->add_service()->set_name(service);
        }
        break;
      default:
        Error(grpc::StatusCode::INVALID_ARGUMENT, "the request asks nothing", response);
    }
    return response;
  }

  // Null: there is none.
  void Files(const pb::FileDescriptor* file, absl::string_view asked, Response& response) const {
    if (file == nullptr)
      return Error(grpc::StatusCode::NOT_FOUND, absl::StrCat("not found: ", asked), response);
    for (const absl::string_view each : descriptors_.Closure(file)) {
      response.mutable_file_descriptor_response()->add_file_descriptor_proto(each.data(),
                                                                             each.size());
    }
  }

  void ExtensionNumbers(const std::string& name, Response& response) const {
    const pb::Descriptor* type = descriptors_.pool().FindMessageTypeByName(name);
    if (type == nullptr)
      return Error(grpc::StatusCode::NOT_FOUND, absl::StrCat("not found: ", name), response);
    response.mutable_all_extension_numbers_response()->set_base_type_name(name);
    std::vector<const pb::FieldDescriptor*> extensions;
    descriptors_.pool().FindAllExtensions(type, &extensions);
    for (const pb::FieldDescriptor* extension : extensions) {
      response.mutable_all_extension_numbers_response()->add_extension_number(extension->number());
    }
  }

  static void Error(grpc::StatusCode code, absl::string_view message, Response& response) {
    response.mutable_error_response()->set_error_code(code);
    response.mutable_error_response()->set_error_message(std::string(message));
  }

  absl::Status LetIn(const Caller& caller) const {
    return gate_ == nullptr ? absl::OkStatus() : gate_->AdmitAnybody(caller);
  }

  void Join(RawStream* stream) {
    absl::MutexLock lock(&mutex_);
    streams_.insert(stream);
    if (ended_) stream->Cancel();
  }

  void Leave(RawStream* stream) {
    absl::MutexLock lock(&mutex_);
    streams_.erase(stream);
  }

  RawService service_;
  const Descriptors& descriptors_;
  Gate* const gate_;
  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<RawStream*> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct Reflection::Parts {
  Parts(absl::string_view descriptor_set, absl::Span<const std::string> services, Gate* gate)
      : descriptors(descriptor_set, services),
        newer(Request::descriptor()->file()->service(0), descriptors, gate),
        older(OlderRequest::descriptor()->file()->service(0), descriptors, gate) {}

  Descriptors descriptors;
  ReflectionService newer;
  ReflectionService older;
};

Reflection::Reflection(absl::string_view descriptor_set, absl::Span<const std::string> services,
                       Gate* gate)
    : parts_(std::make_unique<Parts>(descriptor_set, services, gate)) {}

Reflection::~Reflection() = default;

std::vector<grpc::Service*> Reflection::services() {
  return {parts_->newer.service(), parts_->older.service()};
}

void Reflection::Accept(CallQueue& queue, GrpcStream::Shared& shared) {
  parts_->newer.Serve(queue, shared);
  parts_->older.Serve(queue, shared);
}

void Reflection::EndStreams() {
  parts_->newer.EndStreams();
  parts_->older.EndStreams();
}

}  // namespace sessiond::rpc
