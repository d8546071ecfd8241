// What a handler returns: its reply or a refusal (Answer), and replies that are already serialized.
#pragma once

#include <memory>
#include <string>

#include "db/base/coroutine.h"

namespace sessiond::rpc {

// A serialized message; shared, because it is cached.
template <class Message>
struct Serialized {
  std::shared_ptr<const std::string> bytes;

  static Serialized Of(const Message& message) {
    return {std::make_shared<const std::string>(message.SerializeAsString())};
  }
};

}  // namespace sessiond::rpc
