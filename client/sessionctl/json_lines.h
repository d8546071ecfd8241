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

// A change of many items in as many calls as these require. Their request_ids follow from the first
// one's, and that is what an error names: who repeats the command with it repeats the whole, and
// nothing happens twice. `items_of`: the field of the request; `take`: what becomes of each answer.
template <class Client, class Request, class Answer, class Message, class Take>
absl::Status ChangeInBatches(Run& run, const Request& request, std::vector<Message> items,
                             google::protobuf::RepeatedPtrField<Message>* (Request::*items_of)(),
                             absl::StatusOr<Answer> (Client::*method)(Request) const, Take take) {
  constexpr std::size_t kRequestIdBytesMax = 128;
  const auto batches = Batches(std::move(items));
  const Text first_id = request.request_id().empty() ? NewRequestId() : request.request_id();
  const auto id_of = [&first_id](std::size_t batch) {
    return batch == 0 ? first_id : absl::StrCat(first_id, "/", batch + 1);
  };
  if (batches.size() > 1 && id_of(batches.size() - 1).size() > kRequestIdBytesMax) {
    throw CLI::ValidationError(
        "--request-id",
        absl::StrCat("is too long for ", batches.size(), " calls: the last one's has /",
                     batches.size(), " behind it, and may have ", kRequestIdBytesMax, " bytes"));
  }
  for (std::size_t batch = 0; batch < batches.size(); ++batch) {
    Request some = request;
    (some.*items_of)()->Add(batches[batch].begin(), batches[batch].end());
    some.set_request_id(id_of(batch));
    absl::StatusOr<Answer> answer = Change(run, some, method);
    run.request_id = first_id;
    if (!answer.ok()) return answer.status();
    take(*std::move(answer));
  }
  return absl::OkStatus();
}

}  // namespace sessiond::ctl
