// What all that calls a daemon here shares: connections that are really several, bytes instead of
// messages, and one clock.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/message_lite.h"

namespace sessiond::bench {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// One stub for each of `channels` connections. They connect when they are first used.
inline std::vector<std::unique_ptr<grpc::GenericStub>> Connect(const std::string& target,
                                                               int channels) {
  grpc::ChannelArguments arguments;
  // Otherwise channels of equal arguments share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (int i = 0; i < channels; ++i) {
    stubs.push_back(std::make_unique<grpc::GenericStub>(
        grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments)));
  }
  return stubs;
}

inline grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// Throws std::runtime_error.
template <typename Message>
Message Parse(grpc::ByteBuffer& bytes) {
  grpc::Slice slice;
  Message message;
  if (!bytes.DumpToSingleSlice(&slice).ok() ||
      !message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    throw std::runtime_error(absl::StrCat("a reply is not a ", message.GetTypeName()));
  }
  return message;
}

}  // namespace sessiond::bench
