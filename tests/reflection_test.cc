// Server reflection as grpcurl and its like use it, in both versions.
#include "server/rpc/reflection.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "proto/embedded.h"
#include "tests/service_host.h"

namespace sessiond {
namespace {

using rpc::Reflection;

using google::protobuf::FileDescriptorProto;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

struct V1 {
  using Service = grpc::reflection::v1::ServerReflection;
  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;
};
struct V1Alpha {
  using Service = grpc::reflection::v1alpha::ServerReflection;
  using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = grpc::reflection::v1alpha::ServerReflectionResponse;
};

template <class Version>
class ReflectionTest : public testing::Test {
 protected:
  using Request = typename Version::Request;
  using Response = typename Version::Response;

  Response Ask(const Request& request) {
    Response response;
    EXPECT_TRUE(stream_->Write(request));
    EXPECT_TRUE(stream_->Read(&response));
    EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
    return response;
  }

  Response AskForSymbol(const std::string& symbol) {
    Request request;
    request.set_file_containing_symbol(symbol);
    return Ask(request);
  }

  static std::vector<FileDescriptorProto> Files(const Response& response) {
    std::vector<FileDescriptorProto> files;
    for (const auto& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      EXPECT_TRUE(files.emplace_back().ParseFromString(bytes));
    }
    return files;
  }

  Reflection reflection_{DescriptorSet(), {"sessiond.v1.SessionService", "grpc.health.v1.Health"}};
  ServiceHost host_{{&reflection_}};
  std::unique_ptr<typename Version::Service::Stub> stub_ =
      Version::Service::NewStub(host_.channel());
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream_ =
      stub_->ServerReflectionInfo(&context_);
};

using Versions = testing::Types<V1, V1Alpha>;
TYPED_TEST_SUITE(ReflectionTest, Versions);

TYPED_TEST(ReflectionTest, ListsWhatIsServedAndNothingElse) {
  typename TypeParam::Request request;
  request.set_list_services("*");
  request.set_host("here");
  const auto response = this->Ask(request);
  EXPECT_EQ(response.valid_host(), "here");
  std::vector<std::string> names;
  for (const auto& service : response.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(
      names, ElementsAre("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                         "grpc.reflection.v1alpha.ServerReflection", "sessiond.v1.SessionService"));
}

TYPED_TEST(ReflectionTest, FindsTheFileOfEveryKindOfSymbol) {
  for (const char* symbol :
       {"sessiond.v1.SessionService", "sessiond.v1.SessionService.CreateSession",
        "sessiond.v1.CreateSessionRequest", "sessiond.v1.CreateSessionRequest.session_id"}) {
    const auto files = this->Files(this->AskForSymbol(symbol));
    ASSERT_FALSE(files.empty()) << symbol;
    EXPECT_EQ(files[0].name(), "sessiond/v1/session_service.proto");
  }
}

TYPED_TEST(ReflectionTest, AFileComesWithAllItImportsOnceAndWithItsComments) {
  const auto files = this->Files(this->AskForSymbol("sessiond.v1.SessionService"));
  std::vector<std::string> names;
  for (const FileDescriptorProto& file : files) names.push_back(file.name());
  EXPECT_THAT(names, Contains("sessiond/v1/session.proto").Times(1));
  EXPECT_THAT(names, Contains("google/protobuf/timestamp.proto").Times(1));
  std::string comments;
  for (const auto& location : files[0].source_code_info().location()) {
    comments += location.leading_comments();
  }
  EXPECT_THAT(comments, HasSubstr("Creates a session"));
}

TYPED_TEST(ReflectionTest, TheTypesOfErrorDetailsAreResolvable) {
  const auto files = this->Files(this->AskForSymbol("google.rpc.ErrorInfo"));
  ASSERT_FALSE(files.empty());
  EXPECT_EQ(files[0].name(), "google/rpc/error_details.proto");
}

TYPED_TEST(ReflectionTest, FindsFilesByName) {
  typename TypeParam::Request request;
  request.set_file_by_filename("grpc/health/v1/health.proto");
  const auto files = this->Files(this->Ask(request));
  ASSERT_EQ(files.size(), 1);
  EXPECT_EQ(files[0].package(), "grpc.health.v1");
}

TYPED_TEST(ReflectionTest, TheRulesOfFieldsAreServed) {
  typename TypeParam::Request request;
  request.set_all_extension_numbers_of_type("google.protobuf.FieldOptions");
  const auto numbers = this->Ask(request).all_extension_numbers_response().extension_number();
  ASSERT_EQ(numbers.size(), 1);
  request.mutable_file_containing_extension()->set_containing_type("google.protobuf.FieldOptions");
  request.mutable_file_containing_extension()->set_extension_number(numbers[0]);
  const auto files = this->Files(this->Ask(request));
  ASSERT_FALSE(files.empty());
  EXPECT_EQ(files[0].name(), "sessiond/v1/rules.proto");
}

TYPED_TEST(ReflectionTest, AnswersWhatItDoesNotKnowWithNotFoundAndGoesOn) {
  std::vector<typename TypeParam::Request> requests(4);
  requests[0].set_file_by_filename("nothing.proto");
  requests[1].set_file_containing_symbol("sessiond.v1.SessionService.Nothing");
  requests[2].set_all_extension_numbers_of_type("sessiond.v1.Nothing");
  requests[3].mutable_file_containing_extension()->set_containing_type("sessiond.v1.Session");
  requests[3].mutable_file_containing_extension()->set_extension_number(7);
  for (const auto& request : requests) {
    const auto response = this->Ask(request);
    EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::NOT_FOUND)
        << response.DebugString();
    EXPECT_THAT(response.error_response().error_message(), HasSubstr("not found: "));
  }
}

TYPED_TEST(ReflectionTest, AQuestionWithoutAQuestionIsInvalid) {
  const auto response = this->Ask({});
  EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TYPED_TEST(ReflectionTest, ATypeWithoutExtensionsHasAnEmptyList) {
  typename TypeParam::Request request;
  request.set_all_extension_numbers_of_type("sessiond.v1.Session");
  const auto response = this->Ask(request);
  EXPECT_EQ(response.all_extension_numbers_response().base_type_name(), "sessiond.v1.Session");
  EXPECT_EQ(response.all_extension_numbers_response().extension_number_size(), 0);
}

TYPED_TEST(ReflectionTest, AStreamEndsWhenItsClientHasNoMoreToAsk) {
  this->AskForSymbol("sessiond.v1.Session");
  EXPECT_TRUE(this->stream_->WritesDone());
  EXPECT_TRUE(this->stream_->Finish().ok());
}

TYPED_TEST(ReflectionTest, ShutdownDoesNotWaitForClientsWhoSayNothing) {
  this->AskForSymbol("sessiond.v1.Session");
  this->reflection_.EndStreams();
  this->host_.server().Shutdown();  // Without a deadline: it returns when the last call has ended.
  EXPECT_EQ(this->stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TYPED_TEST(ReflectionTest, AStreamThatComesAfterTheEndIsEndedAtOnce) {
  this->reflection_.EndStreams();
  grpc::ClientContext context;
  const auto late = this->stub_->ServerReflectionInfo(&context);
  EXPECT_EQ(late->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace sessiond
