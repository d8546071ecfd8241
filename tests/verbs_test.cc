// The table of verbs against the contract: no rpc is forgotten, and none replies something else
// than its row says.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "google/protobuf/descriptor.h"
#include "server/rpc/method.h"
#include "server/rpc/services.h"
#include "state_machine/decide.h"

namespace sessiond {
namespace {

using google::protobuf::DescriptorPool;

TEST(Verbs, EachIsAnRpcThatRepliesWhatItsRowSays) {
#define VERB(call, reply)                                       \
  EXPECT_EQ(rpc::MethodOf<v1::call##Request>()->name(), #call); \
  EXPECT_EQ(rpc::MethodOf<v1::call##Request>()->output_type(), v1::reply::descriptor()) << #call;
#include "state_machine/verbs.inc"
}

// Whoever changes a session may send a request_id, so that a repetition has no second effect.
TEST(Verbs, EveryRpcThatTakesARequestIdHasARow) {
  std::set<std::string> verbs = {
#define VERB(call, reply) #call,
#include "state_machine/verbs.inc"
  };
  EXPECT_EQ(verbs.size(), std::variant_size_v<Request>);
  std::set<std::string> changes = {"ImportSessions"};  // Its sessions have ids of their own.
  for (const std::string& name : rpc::ServiceNames()) {
    const auto* service = DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      if (method.input_type()->FindFieldByName("request_id") == nullptr) continue;
      changes.insert(method.name());
    }
  }
  changes.erase("CreateWorkflow");  // No session is changed.
  EXPECT_EQ(verbs, changes);
}

}  // namespace
}  // namespace sessiond
