// The parts of the adapter: JSON to and from messages, errors, watches and scripted tasks.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"
#include "sessiond/connect.h"

namespace sessiond::conformance {

using Json = nlohmann::json;
// `ok`, or `error`.
using Answer = std::variant<Json, absl::Status>;

// An op that this adapter does not know.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline absl::Duration Seconds(double number) { return absl::Seconds(number); }

// Throws what is no such message. A mask is a list of paths.
void Read(Json args, google::protobuf::Message& message);
template <class Message>
Message Read(const Json& args) {
  Message message;
  Read(args, message);
  return message;
}
Json Plain(const google::protobuf::Message& message);
template <class Messages>
Json PlainAll(const Messages& messages) {
  Json all = Json::array();
  for (const auto& message : messages) all.push_back(Plain(message));
  return all;
}

Json Describe(const absl::Status& status);

Answer RunScript(const Client& client, const Json& args, const Json& options);

// Hands a watch's items from the thread that reads them to whoever asks for the next.
class NamedWatch {
 public:
  NamedWatch(const Client& client, const Json& request, absl::Duration silence_max);
  ~NamedWatch() { Close(); }

  Answer Next(absl::Duration timeout);
  std::string token();
  // Waits for its end.
  void Close();

 private:
  struct Item {
    Answer answer;
    std::string token;
  };

  void Go();
  // Waits until the item was taken; false when the watch is closed.
  bool Hand(Item item);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Item> item_;
  std::string token_;  // Of the last item that was answered.
  bool closed_ = false, ended_ = false;
  std::unique_ptr<Watcher> watcher_;
  std::thread reader_;
};

}  // namespace sessiond::conformance
