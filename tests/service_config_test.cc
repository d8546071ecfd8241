// The published service config (proto/service_config.json) against the contract: what it says about
// retries is about methods that exist, and about every method that can be repeated.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/support/validate_service_config.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/services.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::MethodDescriptor;
using google::protobuf::MethodOptions;
using google::protobuf::Struct;
using ::testing::IsEmpty;

std::string Text() {
  const auto root = std::filesystem::path(__FILE__).parent_path().parent_path();
  std::ifstream file(root / "proto/service_config.json");
  return {std::istreambuf_iterator<char>(file), {}};
}

Struct Config() {
  Struct config;
  const auto parsed = google::protobuf::util::JsonStringToMessage(Text(), &config);
  EXPECT_TRUE(parsed.ok()) << parsed.ToString();
  return config;
}

std::vector<const MethodDescriptor*> Methods() {
  std::vector<const MethodDescriptor*> methods;
  for (const std::string& name : ServiceNames()) {
    const auto* service = DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i));
  }
  return methods;
}

bool IsRead(const MethodDescriptor& method) {
  return method.options().idempotency_level() == MethodOptions::NO_SIDE_EFFECTS;
}
bool IsRepeatableChange(const MethodDescriptor& method) {
  return method.input_type()->FindFieldByName("request_id") != nullptr;
}

// By entry of methodConfig: `sessiond.v1.SessionService.GetSession`.
std::vector<std::vector<std::string>> NamesOf(const Struct& config) {
  std::vector<std::vector<std::string>> entries;
  for (const auto& entry : config.fields().at("methodConfig").list_value().values()) {
    entries.emplace_back();
    for (const auto& name : entry.struct_value().fields().at("name").list_value().values()) {
      const auto& fields = name.struct_value().fields();
      entries.back().push_back(absl::StrCat(fields.at("service").string_value(), ".",
                                            fields.at("method").string_value()));
    }
  }
  return entries;
}

TEST(ServiceConfig, IsOneThatGrpcTakes) {
  EXPECT_EQ(grpc::experimental::ValidateServiceConfigJSON(Text()), "");
}

// Every method is one or the other, so that a new one has to say which: ImportSessions alone is a
// change without a request id.
TEST(ServiceConfig, AMethodHasNoSideEffectsOrARequestId) {
  std::vector<std::string> neither, both;
  for (const MethodDescriptor* method : Methods()) {
    if (!IsRead(*method) && !IsRepeatableChange(*method)) neither.push_back(method->name());
    if (IsRead(*method) && IsRepeatableChange(*method)) both.push_back(method->name());
  }
  EXPECT_THAT(neither, testing::ElementsAre("ImportSessions"));
  EXPECT_THAT(both, IsEmpty());
}

TEST(ServiceConfig, CoversEveryReadAndEveryChangeWithARequestIdAndNothingElse) {
  const auto entries = NamesOf(Config());
  ASSERT_EQ(entries.size(), 2u);
  std::multiset<std::string> reads, changes;
  for (const MethodDescriptor* method : Methods()) {
    if (IsRead(*method)) reads.insert(method->full_name());
    if (IsRepeatableChange(*method)) changes.insert(method->full_name());
  }
  EXPECT_EQ(std::multiset<std::string>(entries[0].begin(), entries[0].end()), reads);
  EXPECT_EQ(std::multiset<std::string>(entries[1].begin(), entries[1].end()), changes);
}

// Anything else than UNAVAILABLE is an answer, or may have taken its time already.
TEST(ServiceConfig, OnlyUnavailableIsRetriedAndThatIsThrottled) {
  const Struct config = Config();
  for (const auto& entry : config.fields().at("methodConfig").list_value().values()) {
    const auto& policy = entry.struct_value().fields().at("retryPolicy").struct_value().fields();
    const auto& codes = policy.at("retryableStatusCodes").list_value();
    ASSERT_EQ(codes.values_size(), 1);
    EXPECT_EQ(codes.values(0).string_value(), "UNAVAILABLE");
    // gRPC makes five attempts of more.
    EXPECT_EQ(policy.at("maxAttempts").number_value(), 5);
    // A timeout here would cut longer deadlines, and watches.
    EXPECT_FALSE(entry.struct_value().fields().contains("timeout"));
  }
  EXPECT_TRUE(config.fields().contains("retryThrottling"));
}

}  // namespace
}  // namespace sessiond::rpc
