// What the load generator asks for: which sessions there are, which one is next, and what its reply
// must show.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/bench/keys.h"

namespace sessiond::bench {

// What is measured; behind kErrors what is done beforehand, so that it can be.
enum class Operation {
  kCreate,
  kAdvance,
  kCold,
  kUpdate,
  kGet,
  kList,
  kMessages256,
  kMessages16k,
  kTasks,
  kErrors,
  kMakeSession,
  kMakeInterview,
  kReachStage,
};

// One of those above by its name in load.h; throws std::runtime_error when there is none.
Operation ParseOperation(const std::string& name);

// What is called.
enum class Method { kCreate, kAdvance, kUpdate, kGet, kList, kAppend, kStart, kComplete, kRecord };

// `/package.Service/Method`.
const std::string& Name(Method method);

// What a call asks for, and what its reply must show; empty for anything.
struct Request {
  Method method = Method::kGet;
  grpc::ByteBuffer bytes;
  std::string session_id = {};
  absl::string_view stage = {};
  std::string owner_id = {};
  // Whether later requests need what the reply says.
  bool awaited = false;
};

class Workload {
 public:
  Workload();

  // From now on sessions are chosen like this; not those that are advanced, or that tasks run on.
  void Use(Keys keys) { keys_ = keys; }

  // From now on calls are about `count` sessions that a bulk loader wrote; 0 for those made here.
  // There may be millions: their ids are computed.
  void Adopt(std::uint64_t count) { adopted_ = count; }

  // Sees that `operation` can be done `count` times, or that there are `count` sessions to do it
  // with. `run` makes all the calls that an operation asks for.
  void Prepare(Operation operation, std::int64_t count, const std::function<void(Operation)>& run);

  // The next thing to ask for; none when everything is done. Throws std::runtime_error when nothing
  // is prepared for it.
  std::optional<Request> Next(Operation operation);

  // Takes what the reply says. Answers what is wrong with it in a sentence; empty when nothing is.
  std::string Take(const Request& request, grpc::ByteBuffer& reply);

 private:
  using Ids = std::deque<std::string>;

  // A task that runs, and is to be completed.
  struct StartedTask {
    std::string session_id;
    std::string task_id;
  };

  void Make(Operation operation, std::int64_t wanted, Ids& ids,
            const std::function<void(Operation)>& run);
  void Reach(absl::string_view stage, const Ids& ids, std::size_t begin,
             const std::function<void(Operation)>& run);

  Request CreateSession(bool awaited);
  Request CreateInterview();
  std::optional<Request> Advance();
  Request AdvanceTo(const std::string& id, absl::string_view stage);
  Request Update();
  Request Get();
  Request List();
  Request Append(std::size_t bytes);
  Request StartOrCompleteTask();
  Request RecordError();

  const std::string& AnyOf(const Ids& ids);
  std::string AnySession();
  std::string AnyTicketExport();
  std::string AnyInterview();
  std::string AnyOwner();
  std::string SiteName();
  std::string RequestId();

  Random random_{std::random_device{}()};
  Keys keys_ = Keys::kUniform;
  std::uint64_t adopted_ = 0;
  // Letters at random, of which messages are cut: what PostgreSQL cannot compress.
  std::string text_;

  Ids advanced_ids_;
  std::int64_t block_ = 0;
  std::int64_t next_advance_ = 0;
  Ids cold_ids_;  // made long before they are advanced, once each
  std::int64_t next_cold_ = 0;
  Ids updated_ids_;
  std::uint64_t next_update_ = 0;
  Ids interview_ids_;
  std::uint64_t next_message_ = 0;
  Ids worked_ids_;  // those that tasks run on, and errors are recorded in
  std::uint64_t next_task_ = 0;
  std::deque<StartedTask> started_tasks_;
  std::uint64_t next_error_ = 0;

  // While sessions are made.
  Ids made_ids_;
  std::int64_t left_to_make_ = 0;
  absl::string_view reach_stage_;
  const Ids* to_reach_ = nullptr;
  std::size_t next_to_reach_ = 0;
};

}  // namespace sessiond::bench
