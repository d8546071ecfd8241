#include "server/ops/reflection.h"

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
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"

namespace sessiond {
namespace {

namespace pb = google::protobuf;

// What there is to know, found by name. The files are answered as the set has them, byte for byte.
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
  // Null where there is none.
  const pb::FileDescriptor* FileByName(const std::string& name) const {
    return pool_.FindFileByName(name);
  }
  const pb::FileDescriptor* FileOfSymbol(const std::string& name) const {
    return pool_.FindFileContainingSymbol(name);
  }
  const pb::FileDescriptor* FileOfExtension(const std::string& type, int number) const {
    const pb::Descriptor* extended = pool_.FindMessageTypeByName(type);
    const pb::FieldDescriptor* extension =
        extended == nullptr ? nullptr : pool_.FindExtensionByNumber(extended, number);
    return extension == nullptr ? nullptr : extension->file();
  }
  const pb::Descriptor* Message(const std::string& name) const {
    return pool_.FindMessageTypeByName(name);
  }
  std::vector<const pb::FieldDescriptor*> ExtensionsOf(const pb::Descriptor* type) const {
    std::vector<const pb::FieldDescriptor*> extensions;
    pool_.FindAllExtensions(type, &extensions);
    return extensions;
  }

  // The file and all it imports, each once, as the set has them: the pool keeps no comments.
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

// Answers one question. The two versions of the protocol differ in their package only.
template <class Request, class Response>
class Answerer {
 public:
  explicit Answerer(const Descriptors& descriptors) : descriptors_(descriptors) {}

  Response Answer(const Request& request) const {
    Response response;
    response.set_valid_host(request.host());
    *response.mutable_original_request() = request;
    switch (request.message_request_case()) {
      case Request::kFileByFilename:
        Files(descriptors_.FileByName(request.file_by_filename()), request.file_by_filename(),
              response);
        break;
      case Request::kFileContainingSymbol:
        Files(descriptors_.FileOfSymbol(request.file_containing_symbol()),
              request.file_containing_symbol(), response);
        break;
      case Request::kFileContainingExtension: {
        const auto& asked = request.file_containing_extension();
        Files(descriptors_.FileOfExtension(asked.containing_type(), asked.extension_number()),
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

 private:
  void Files(const google::protobuf::FileDescriptor* file, absl::string_view asked,
             Response& response) const {
    if (file == nullptr)
      return Error(grpc::StatusCode::NOT_FOUND, absl::StrCat("not found: ", asked), response);
    for (const absl::string_view each : descriptors_.Closure(file)) {
      response.mutable_file_descriptor_response()->add_file_descriptor_proto(each.data(),
                                                                             each.size());
    }
  }

  void ExtensionNumbers(const std::string& type, Response& response) const {
    const google::protobuf::Descriptor* descriptor = descriptors_.Message(type);
    if (descriptor == nullptr)
      return Error(grpc::StatusCode::NOT_FOUND, absl::StrCat("not found: ", type), response);
    response.mutable_all_extension_numbers_response()->set_base_type_name(type);
    for (const auto* extension : descriptors_.ExtensionsOf(descriptor)) {
      response.mutable_all_extension_numbers_response()->add_extension_number(extension->number());
    }
  }

  static void Error(grpc::StatusCode code, absl::string_view message, Response& response) {
    response.mutable_error_response()->set_error_code(code);
    response.mutable_error_response()->set_error_message(std::string(message));
  }

  const Descriptors& descriptors_;
};

grpc::Status Draining() {
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, "The daemon is draining: ask another one.");
}

// One version of the service. A stream reads a question, writes its answer, and reads the next.
template <class CallbackService, class Request, class Response>
class ReflectionService final : public CallbackService {
 public:
  explicit ReflectionService(const Descriptors& descriptors) : answerer_(descriptors) {}

  grpc::ServerBidiReactor<Request, Response>* ServerReflectionInfo(
      grpc::CallbackServerContext*) override {
    auto stream = std::make_shared<Stream>(*this);
    bool ended = false;
    {
      absl::MutexLock lock(&mutex_);
      streams_.insert(stream);
      ended = ended_;
    }
    if (ended) {
      stream->End(Draining());
    } else {
      stream->Read();
    }
    return stream.get();
  }

  void EndStreams() {
    std::vector<std::shared_ptr<Stream>> streams;
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      streams.assign(streams_.begin(), streams_.end());
    }
    for (const auto& stream : streams) stream->End(Draining());
  }

 private:
  // gRPC may answer a call into it on this very thread, and nothing may be started after Finish.
  // Therefore gRPC is called without the lock but with a hold, and the stream is finished when it
  // is to end and nobody holds it.
  class Stream final : public grpc::ServerBidiReactor<Request, Response>,
                       public std::enable_shared_from_this<Stream> {
   public:
    explicit Stream(ReflectionService& service) : service_(service) {}

    void Read() {
      if (!Hold()) return;
      this->StartRead(&request_);
      Release();
    }

    void End(const grpc::Status& status) {
      {
        absl::MutexLock lock(&mutex_);
        if (!end_.has_value()) end_ = status;
        ++holds_;
      }
      Release();
    }

    void OnReadDone(bool ok) override {
      if (!ok) return End(grpc::Status::OK);
      if (!Hold()) return;  // Until the write is done.
      response_ = service_.answerer_.Answer(request_);
      this->StartWrite(&response_);
    }

    void OnWriteDone(bool ok) override {
      if (ok) Read();
      if (!ok) End(grpc::Status::CANCELLED);
      Release();
    }

    void OnCancel() override { End(grpc::Status::CANCELLED); }

    void OnDone() override {
      const std::shared_ptr<Stream> self = this->shared_from_this();
      absl::MutexLock lock(&service_.mutex_);
      service_.streams_.erase(self);
    }

   private:
    // False: it is ending, start nothing.
    bool Hold() {
      absl::MutexLock lock(&mutex_);
      if (end_.has_value()) return false;
      ++holds_;
      return true;
    }

    void Release() {
      {
        absl::MutexLock lock(&mutex_);
        if (--holds_ > 0 || !end_.has_value() || std::exchange(finished_, true)) return;
      }
      this->Finish(*end_);
    }

    ReflectionService& service_;
    absl::Mutex mutex_;
    int holds_ ABSL_GUARDED_BY(mutex_) = 0;
    bool finished_ ABSL_GUARDED_BY(mutex_) = false;
    // Set once, guarded by mutex_ until then.
    std::optional<grpc::Status> end_;
    // Touched by one callback at a time: gRPC reads, then we answer, then gRPC writes.
    Request request_;
    Response response_;
  };

  const Answerer<Request, Response> answerer_;
  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct Reflection::Parts {
  Parts(absl::string_view descriptor_set, absl::Span<const std::string> services)
      : descriptors(descriptor_set, services), newer(descriptors), older(descriptors) {}

  Descriptors descriptors;
  ReflectionService<grpc::reflection::v1::ServerReflection::CallbackService,
                    grpc::reflection::v1::ServerReflectionRequest,
                    grpc::reflection::v1::ServerReflectionResponse>
      newer;
  ReflectionService<grpc::reflection::v1alpha::ServerReflection::CallbackService,
                    grpc::reflection::v1alpha::ServerReflectionRequest,
                    grpc::reflection::v1alpha::ServerReflectionResponse>
      older;
};

Reflection::Reflection(absl::string_view descriptor_set, absl::Span<const std::string> services)
    : parts_(std::make_unique<Parts>(descriptor_set, services)) {}

Reflection::~Reflection() = default;

std::vector<grpc::Service*> Reflection::services() { return {&parts_->newer, &parts_->older}; }

void Reflection::EndStreams() {
  parts_->newer.EndStreams();
  parts_->older.EndStreams();
}

}  // namespace sessiond
