// Many messages from a file or stdin: Protobuf's JSON, one object per line.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/legacy/exact_json.h"
#include "client/sessionctl/flags.h"

namespace sessiond::ctl {

// Every line that is not blank. Throws CLI::ValidationError, which names the line, at the first
// that is not such an object.
template <class Message>
std::vector<Message> ReadJsonLines(const Text& flag, const Text& path) {
  std::vector<Message> messages;
  int number = 0;
  const Text text = ReadText(flag, path);
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    if (const absl::Status read = ReadExactJson(line, messages.emplace_back()); !read.ok()) {
      throw CLI::ValidationError(flag, absl::StrCat("line ", number, ": ", read.message()));
    }
  }
  if (messages.empty()) throw CLI::ValidationError(flag, absl::StrCat(path, " has no lines"));
  return messages;
}

// The limits of one call: 500, and 3 MiB, which leaves room for the rest of a request of 4 MiB. A
// larger message is sent alone, to be refused with the reason.
template <class Message>
std::vector<std::vector<Message>> Batches(std::vector<Message> messages) {
  constexpr std::size_t kItemsMax = 500, kBytesMax = 3 << 20;
  std::vector<std::vector<Message>> batches;
  std::size_t bytes = 0;
  for (Message& message : messages) {
    const std::size_t size = message.ByteSizeLong();
    if (batches.empty() || batches.back().size() == kItemsMax || bytes + size > kBytesMax) {
      batches.emplace_back();
      bytes = 0;
    }
    batches.back().push_back(std::move(message));
    bytes += size;
  }
  return batches;
}

}  // namespace sessiond::ctl
