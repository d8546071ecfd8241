// A thousand watches on one thread and one completion queue, as the load generator's calls: each
// has one operation under way at any time, and is its tag.
#include "tests/bench/watch.h"

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "google/protobuf/io/coded_stream.h"
#include "sessiond/v1/session_service.pb.h"
#include "tests/bench/client.h"
#include "tests/bench/commands.h"

namespace sessiond::bench {
namespace {

constexpr char kMethod[] = "/sessiond.v1.SessionService/WatchSessions";
constexpr std::chrono::seconds kPatience(20);
// How soon a command is noticed while nothing happens.
constexpr std::chrono::milliseconds kPause(10);

enum class Audience { kAll, kShare, kNothing };

Audience ParseAudience(const std::string& name) {
  if (name == "all") return Audience::kAll;
  if (name == "share") return Audience::kShare;
  if (name == "nothing") return Audience::kNothing;
  throw std::runtime_error("use: open all|share|nothing N");
}

std::string FilterOf(Audience audience, int index) {
  switch (audience) {
    case Audience::kAll:
      return "";
    case Audience::kShare:
      return absl::StrCat("labels.team = \"team-", index, "\"");
    case Audience::kNothing:
      return absl::StrCat("owner_id = \"nobody-", index, "\"");
  }
  return "";
}

// The message in a field of another message, both as they are on the wire; none when it is not set.
// Whole sessions are most of what watches are told, and to parse them would take as much time as
// all the rest.
std::optional<absl::string_view> FieldOf(absl::string_view message, int number) {
  constexpr std::uint32_t kVarint = 0;
  constexpr std::uint32_t kLengthDelimited = 2;
  google::protobuf::io::CodedInputStream input(
      reinterpret_cast<const std::uint8_t*>(message.data()), static_cast<int>(message.size()));
  while (const std::uint32_t tag = input.ReadTag()) {
    const std::uint32_t type = tag & 7;
    std::uint64_t value = 0;
    if ((type != kVarint && type != kLengthDelimited) || !input.ReadVarint64(&value)) break;
    if (type == kVarint) continue;
    if (static_cast<int>(tag >> 3) == number) return message.substr(input.CurrentPosition(), value);
    if (!input.Skip(static_cast<int>(value))) break;
  }
  return std::nullopt;
}

struct Watch {
  // What gRPC is doing for it.
  enum class Step { kStart, kWrite, kRead, kFinish };

  Audience audience = Audience::kAll;
  Step step = Step::kStart;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::Status status;
  grpc::ClientContext context;
  // Behind the context, in whose arena it lies.
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
};

class Watches {
 public:
  explicit Watches(const WatchOptions& options)
      : stubs_(Connect(options.target, options.channels)) {}
  ~Watches() { Close(); }

  void Open(Audience audience, int count) {
    const std::size_t wanted = bookmarks_ + count;
    for (int i = 0; i < count; ++i) Start(audience, FilterOf(audience, i));
    const Clock::time_point patience = Clock::now() + kPatience;
    while (bookmarks_ < wanted) {
      if (!Continue(patience)) throw std::runtime_error("not all watches opened in 20 seconds");
    }
  }

  // Goes on reading until somebody has said something.
  void ReadUntilCommanded() {
    while (!IsCommanded()) {
      const Clock::time_point end = Clock::now() + kPause;
      while (Clock::now() < end && Continue(end)) {
      }
    }
  }

  void Collect(const std::string& path, double seconds) {
    file_.open(path, std::ios::trunc);
    if (!file_) throw std::runtime_error(absl::StrCat("cannot write to ", path));
    told_all_ = told_share_ = 0;
    const Clock::time_point begin = Clock::now();
    const auto end = begin + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
    while (Clock::now() < end) Continue(end);
    file_.close();
    Answer(R"({"events": %d, "all": %d, "share": %d, "seconds": %.3f})", told_all_ + told_share_,
           told_all_, told_share_, Seconds(Clock::now() - begin).count());
  }

  void Close() {
    closing_ = true;
    for (const auto& watch : watches_) watch->context.TryCancel();
    while (ended_ < watches_.size()) Continue(Clock::now() + kPatience);
    watches_.clear();
    ended_ = bookmarks_ = 0;
    closing_ = false;
  }

 private:
  void Start(Audience audience, const std::string& filter) {
    v1::WatchSessionsRequest request;
    request.set_filter(filter);
    Watch& watch = *watches_.emplace_back(std::make_unique<Watch>());
    watch.audience = audience;
    watch.request = Serialize(request);
    watch.stream =
        stubs_[watches_.size() % stubs_.size()]->PrepareCall(&watch.context, kMethod, &queue_);
    watch.stream->StartCall(&watch);
  }

  // Waits for one operation, and begins the next one of its watch. Answers false when there was
  // none by then.
  bool Continue(Clock::time_point deadline) {
    void* tag = nullptr;
    bool ok = false;
    const auto wait = deadline - Clock::now();
    if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + wait) !=
        grpc::CompletionQueue::GOT_EVENT) {
      return false;
    }
    Watch& watch = *static_cast<Watch*>(tag);
    if (!ok && watch.step != Watch::Step::kFinish) {
      watch.step = Watch::Step::kFinish;
      watch.stream->Finish(&watch.status, &watch);
      return true;
    }
    switch (watch.step) {
      case Watch::Step::kStart:
        watch.step = Watch::Step::kWrite;
        watch.stream->WriteLast(watch.request, grpc::WriteOptions(), &watch);
        return true;
      case Watch::Step::kRead:
        Take(watch);
        [[fallthrough]];
      case Watch::Step::kWrite:
        watch.step = Watch::Step::kRead;
        watch.stream->Read(&watch.response, &watch);
        return true;
      case Watch::Step::kFinish:
        ++ended_;
        if (!closing_)
          throw std::runtime_error(absl::StrCat("a watch has ended: ", watch.status.error_code(),
                                                " ", watch.status.error_message()));
    }
    return true;
  }

  void Take(Watch& watch) {
    const std::int64_t now_us = absl::ToUnixMicros(absl::Now());
    using Response = v1::WatchSessionsResponse;
    grpc::Slice slice;
    if (!watch.response.DumpToSingleSlice(&slice).ok()) throw std::runtime_error("no memory");
    const absl::string_view response(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (FieldOf(response, Response::kBookmarkFieldNumber)) ++bookmarks_;
    const auto change = FieldOf(response, Response::kChangeFieldNumber);
    if (!change || !file_.is_open()) return;
    const auto bytes = FieldOf(*change, v1::SessionChange::kEventFieldNumber);
    v1::SessionEvent event;
    if (!bytes || !event.ParseFromArray(bytes->data(), static_cast<int>(bytes->size())))
      throw std::runtime_error("a watch was told something that is no change");
    const bool all = watch.audience == Audience::kAll;
    ++(all ? told_all_ : told_share_);
    file_ << (all ? "all" : "share") << '\t' << event.session_id() << '\t' << event.sequence()
          << '\t' << now_us << '\n';
  }

  // Whether there is something on stdin, or its end.
  static bool IsCommanded() {
    pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    return std::cin.rdbuf()->in_avail() > 0 || poll(&input, 1, 0) > 0;
  }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::vector<std::unique_ptr<Watch>> watches_;
  std::size_t bookmarks_ = 0;
  std::size_t ended_ = 0;
  bool closing_ = false;

  std::ofstream file_;
  std::int64_t told_all_ = 0;
  std::int64_t told_share_ = 0;
};

void Obey(Watches& watches, std::istringstream& words) {
  std::string command;
  std::string name;
  int count = 0;
  double seconds = 0;
  words >> command;
  if (command == "open") {
    Expect(words, "open all|share|nothing N", name, count);
    watches.Open(ParseAudience(name), count);
    Answer("{\"opened\": %d}", count);
  } else if (command == "collect") {
    Expect(words, "collect FILE SECONDS", name, seconds);
    watches.Collect(name, seconds);
  } else if (command == "close") {
    watches.Close();
    Answer("{\"closed\": true}");
  } else {
    throw std::runtime_error(absl::StrCat("there is no command `", command, "`; watch.h has them"));
  }
  watches.ReadUntilCommanded();
}

}  // namespace

int RunWatch(const WatchOptions& options) {
  std::ios::sync_with_stdio(false);  // so that the stream tells what it has read ahead
  Watches watches(options);
  return ObeyStdin([&](std::istringstream& words) { Obey(watches, words); });
}

}  // namespace sessiond::bench
