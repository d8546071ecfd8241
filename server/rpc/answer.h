// What a handler answers: its reply or why not (Answer), and replies whose bytes exist already.
#pragma once

#include <memory>
#include <string>

#include "db/base/coroutine.h"

namespace sessiond::rpc {

// A message as it goes on the wire; shared, because it is kept.
template <class Message>
struct Serialized {
  std::shared_ptr<const std::string> bytes;

  static Serialized Of(const Message& message) {
    return {std::make_shared<const std::string>(message.SerializeAsString())};
  }
  Message Parse() const {
    Message message;
    message.ParseFromString(*bytes);
    return message;
  }
};

}  // namespace sessiond::rpc
