// The load generator shares its cores with what it measures, so it is made cheap: one thread, one
// completion queue, calls in slots that are used again, raw bytes in and out (one reply in 64 is
// parsed and checked), no retries.
#include "tests/bench/load.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "sessiond/v1/error_service.pb.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"

namespace sessiond::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
// Calls in flight refer to ids; a deque grows without moving them.
using Ids = std::deque<std::string>;

// What is measured, or done beforehand so that it can be.
enum class Operation {
  kCreate,
  kCreateInterview,
  kReachStage,
  kAdvance,
  kUpdate,
  kGet,
  kMessages256,
  kMessages16k,
  kTasks,
  kErrors
};

// What is called.
enum class Method { kCreate, kAdvance, kUpdate, kGet, kAppend, kStart, kComplete, kRecord };

constexpr absl::string_view kStages[] = {"upload", "processing", "review", "jira_export",
                                         "completed"};
constexpr std::int64_t kAdvancesPerSession = std::size(kStages);

// Sessions are advanced in blocks, lap by lap: all of a block to `upload`, then all to
// `processing`, … So the same session comes again only after 16,383 others, never while it is in
// flight, and a block is as many rows as pgbench works on.
constexpr std::int64_t kBlock = 16384;

// How far sessions are advanced on which tasks run: to `processing`.
constexpr int kStagesBeforeTasks = 2;

constexpr int kCreatesInFlight = 256;
// One in 64: parsing all replies costs the generator a quarter of its time; it is the daemon that
// is measured.
constexpr std::uint64_t kCheckEvery = 64;
// Left out of the figures: connections, caches and plans warm up.
constexpr Seconds kWarmUp(0.3);
constexpr std::chrono::seconds kPatience(20);
constexpr char kNothingPrepared[] = "there are no sessions for it; say `prepare OPERATION COUNT`";

const std::string& Name(Method method) {
  static const std::string names[] = {
      "/sessiond.v1.SessionService/CreateSession",  "/sessiond.v1.SessionService/AdvanceSession",
      "/sessiond.v1.SessionService/UpdateSession",  "/sessiond.v1.SessionService/GetSession",
      "/sessiond.v1.MessageService/AppendMessages", "/sessiond.v1.TaskService/StartTask",
      "/sessiond.v1.TaskService/CompleteTask",      "/sessiond.v1.ErrorService/RecordError"};
  return names[static_cast<int>(method)];
}

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

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

// What we look at of a reply.
struct Reply {
  std::string session_id;
  std::string stage;    // of replies that show the session
  std::string task_id;  // of StartTask
};

Reply Read(Method method, grpc::ByteBuffer& bytes) {
  switch (method) {
    case Method::kAppend: {
      const auto response = Parse<v1::AppendMessagesResponse>(bytes);
      return {response.session().session_id(), response.session().stage(), ""};
    }
    case Method::kStart:
    case Method::kComplete: {
      const auto task = Parse<v1::SessionTask>(bytes);
      return {task.session_id(), "", task.task_id()};
    }
    case Method::kRecord:
      return {Parse<v1::SessionError>(bytes).session_id(), "", ""};
    default: {
      const auto session = Parse<v1::Session>(bytes);
      return {session.session_id(), session.stage(), ""};
    }
  }
}

// What a call asks for, and what its reply must show.
struct Request {
  Method method = Method::kGet;
  grpc::ByteBuffer bytes;
  absl::string_view session_id;  // empty: any
  absl::string_view stage;       // empty: any
};

// A task that runs, and is to be completed.
struct StartedTask {
  absl::string_view session_id;
  std::string task_id;
};

// One of the calls in flight; used again when it is answered.
struct Call {
  std::optional<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  Request request;
  grpc::ByteBuffer reply;
  grpc::Status status;
  Clock::time_point due;
};

struct Report {
  double seconds = 0;               // without warming up
  std::int64_t requests_all = 0;    // while warming up, too
  std::vector<float> latencies_us;  // of those answered OK after warming up, and before the end
  std::int64_t failures = 0;
  std::string first_failure;
};

class Generator {
 public:
  explicit Generator(const LoadOptions& options) {
    for (int i = 0; i < options.channels; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
                       1);  // a connection of its own for each channel
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      arguments.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
      stubs_.push_back(std::make_unique<grpc::GenericStub>(grpc::CreateCustomChannel(
          options.target, grpc::InsecureChannelCredentials(), arguments)));
    }
    text_.resize(std::size_t{1} << 20);
    for (char& letter : text_) letter = static_cast<char>('a' + random_() % 26);
  }

  // Creates sessions until `count` advances can be made, or there are `count` to do the other
  // operations with.
  void Prepare(Operation operation, std::int64_t count) {
    switch (operation) {
      case Operation::kAdvance: {
        const std::int64_t sessions = (next_advance_ + count) / kAdvancesPerSession + 1;
        Create(Operation::kCreate, (sessions + kBlock - 1) / kBlock * kBlock, advanced_ids_);
        return;
      }
      case Operation::kMessages256:
      case Operation::kMessages16k:
        Create(Operation::kCreateInterview, count, interview_ids_);
        return;
      case Operation::kTasks:
      case Operation::kErrors: {
        const std::size_t before = worked_ids_.size();
        Create(Operation::kCreate, count, worked_ids_);
        for (int stage = 0; stage < kStagesBeforeTasks; ++stage) {
          reach_stage_ = kStages[stage];
          next_to_reach_ = before;
          RunToTheEnd(Operation::kReachStage);
        }
        return;
      }
      default:
        Create(Operation::kCreate, count, updated_ids_);
    }
  }

  // Makes calls for `seconds` after warming up, or until there is nothing left to ask for.
  Report Run(Operation operation, int in_flight, Seconds seconds, double rate) {
    Report report;
    std::vector<Call> calls(in_flight);
    const Clock::time_point start = Clock::now();
    const Clock::time_point measure_from =
        start + std::chrono::duration_cast<Clock::duration>(kWarmUp);
    const Clock::time_point end =
        measure_from + std::chrono::duration_cast<Clock::duration>(seconds);
    const auto interval =
        std::chrono::duration_cast<Clock::duration>(Seconds(rate > 0 ? 1 / rate : 0));

    std::vector<Call*> idle;
    for (Call& call : calls) idle.push_back(&call);
    Clock::time_point due = start;  // when the next call ought to be made; open loop only
    Clock::time_point now = start;
    Clock::time_point answered = start;
    bool more = true;
    for (;;) {
      while (more && now < end && !idle.empty() && (rate == 0 || due <= now)) {
        more = Begin(operation, *idle.back(), rate > 0 ? due : Clock::now());
        if (!more) break;
        idle.pop_back();
        due += interval;
      }
      const bool sending = more && now < end;
      if (!sending && idle.size() == calls.size()) break;

      const bool waiting_to_send = sending && !idle.empty();
      Call* call =
          Next(waiting_to_send ? std::min(due, end) : answered + kPatience, !waiting_to_send);
      now = Clock::now();
      if (call == nullptr) continue;
      answered = now;
      Finish(*call, now, now >= measure_from && now < end, report);
      idle.push_back(call);
    }
    report.seconds = Seconds(std::min(now, end) - measure_from).count();
    return report;
  }

 private:
  // Creates sessions until `ids` has `wanted`.
  void Create(Operation operation, std::int64_t wanted, Ids& ids) {
    creating_left_ = wanted - static_cast<std::int64_t>(ids.size());
    created_ids_.clear();
    RunToTheEnd(operation);
    std::move(created_ids_.begin(), created_ids_.end(), std::back_inserter(ids));
  }

  void RunToTheEnd(Operation operation) {
    const Report report = Run(operation, kCreatesInFlight, std::chrono::hours(1), 0);
    if (report.failures > 0) throw std::runtime_error(report.first_failure);
  }

  // Answers false when there is nothing left to ask for.
  bool Begin(Operation operation, Call& call, Clock::time_point due) {
    std::optional<Request> request = NextRequest(operation);
    if (!request) return false;
    call.request = *std::move(request);
    call.reader.reset();  // before the context, in whose arena it lies
    call.context.emplace();
    call.reply.Clear();
    call.due = due;
    grpc::GenericStub& stub = *stubs_[++calls_ % stubs_.size()];
    call.reader = stub.PrepareUnaryCall(&*call.context, Name(call.request.method),
                                        call.request.bytes, &queue_);
    call.reader->StartCall();
    call.reader->Finish(&call.reply, &call.status, &call);
    return true;
  }

  // The next call answered; null when none is by `deadline`.
  Call* Next(Clock::time_point deadline, bool must_answer) {
    void* tag = nullptr;
    bool ok = false;
    const auto wait = deadline - Clock::now();
    if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + wait) ==
        grpc::CompletionQueue::GOT_EVENT) {
      return static_cast<Call*>(tag);
    }
    if (must_answer)
      throw std::runtime_error("no call was answered for 20 seconds; is the daemon still there?");
    return nullptr;
  }

  void Finish(Call& call, Clock::time_point now, bool measured, Report& report) {
    ++report.requests_all;
    const Request& request = call.request;
    if (!call.status.ok()) {
      if (report.failures++ == 0) {
        report.first_failure = absl::StrCat(Name(request.method), ": ", call.status.error_code(),
                                            " ", call.status.error_message());
      }
      return;
    }
    if (measured) {
      report.latencies_us.push_back(
          std::chrono::duration<float, std::micro>(now - call.due).count());
    }
    const bool needed = request.method == Method::kCreate || request.method == Method::kStart;
    if (!needed && calls_ % kCheckEvery != 0) return;
    Reply reply = Read(request.method, call.reply);
    if ((!request.session_id.empty() && reply.session_id != request.session_id) ||
        (!request.stage.empty() && reply.stage != request.stage)) {
      if (report.failures++ == 0) {
        report.first_failure = absl::StrCat(
            Name(request.method), " answered for the wrong session or stage: ", reply.session_id,
            " ", reply.stage);
      }
      return;
    }
    if (request.method == Method::kCreate) created_ids_.push_back(std::move(reply.session_id));
    if (request.method == Method::kStart)
      started_tasks_.push_back({request.session_id, std::move(reply.task_id)});
  }

  std::optional<Request> NextRequest(Operation operation) {
    switch (operation) {
      case Operation::kCreate:
        return creating_left_-- > 0 ? std::optional(CreateRequest()) : std::nullopt;
      case Operation::kCreateInterview:
        return creating_left_-- > 0 ? std::optional(CreateInterviewRequest()) : std::nullopt;
      case Operation::kReachStage:
        return next_to_reach_ < worked_ids_.size()
                   ? std::optional(AdvanceTo(worked_ids_[next_to_reach_++], reach_stage_))
                   : std::nullopt;
      case Operation::kAdvance:
        return AdvanceRequest();
      case Operation::kUpdate:
        return UpdateRequest();
      case Operation::kMessages256:
        return AppendRequest(256);
      case Operation::kMessages16k:
        return AppendRequest(16384);
      case Operation::kTasks:
        return TaskRequest();
      case Operation::kErrors:
        return RecordRequest();
      case Operation::kGet:
        break;
    }
    v1::GetSessionRequest request;
    const std::string& id = AnyOf(updated_ids_);
    request.set_session_id(id);
    return Request{Method::kGet, Serialize(request), id, ""};
  }

  Request CreateRequest() {
    v1::CreateSessionRequest request;
    v1::Session& session = *request.mutable_session();
    session.set_workflow("ticket_export");
    session.set_owner_id(absl::StrCat("user-", random_() % 5000));
    session.set_owner_display_name("Ada Lovelace");
    (*session.mutable_labels())["team"] = absl::StrCat("team-", random_() % 100);
    auto& context = *session.mutable_context()->mutable_fields();
    context["site_name"].set_string_value(SiteName());
    context["site_description"].set_string_value(
        "Two production halls and an office wing; access over the north gate, keys at the porter, "
        "photos attached");
    context["jira_project_key"].set_string_value("SITE");
    context["llm_provider_choice"].set_string_value("anthropic");
    request.set_request_id(RequestId());
    return Request{Method::kCreate, Serialize(request), "", ""};
  }

  Request CreateInterviewRequest() {
    v1::CreateSessionRequest request;
    v1::Session& session = *request.mutable_session();
    session.set_workflow("interview");
    session.set_owner_id(absl::StrCat("user-", random_() % 5000));
    session.set_owner_display_name("Ada Lovelace");
    request.set_request_id(RequestId());
    return Request{Method::kCreate, Serialize(request), "", ""};
  }

  std::optional<Request> AdvanceRequest() {
    const std::int64_t block = next_advance_ / (kBlock * kAdvancesPerSession);
    const std::int64_t lap = next_advance_ / kBlock % kAdvancesPerSession;
    const std::size_t index = block * kBlock + next_advance_ % kBlock;
    if (index >= advanced_ids_.size()) return std::nullopt;
    ++next_advance_;
    return AdvanceTo(advanced_ids_[index], kStages[lap]);
  }

  Request AdvanceTo(const std::string& id, absl::string_view stage) {
    v1::AdvanceSessionRequest request;
    request.set_session_id(id);
    request.set_target_stage(std::string(stage));
    request.set_request_id(RequestId());
    return Request{Method::kAdvance, Serialize(request), id, stage};
  }

  // By turns: a field of the context, a counter, a label (the one that is indexed).
  Request UpdateRequest() {
    v1::UpdateSessionRequest request;
    const std::string& id = AnyOf(updated_ids_);
    request.mutable_session()->set_session_id(id);
    request.set_request_id(RequestId());
    switch (next_update_++ % 3) {
      case 0:
        request.mutable_update_mask()->add_paths("context.site_name");
        (*request.mutable_session()->mutable_context()->mutable_fields())["site_name"]
            .set_string_value(SiteName());
        break;
      case 1:
        (*request.mutable_counter_increments())["total_tickets_generated"] = 1;
        break;
      default:
        request.mutable_update_mask()->add_paths("labels.team");
        (*request.mutable_session()->mutable_labels())["team"] =
            absl::StrCat("team-", random_() % 100);
    }
    return Request{Method::kUpdate, Serialize(request), id, ""};
  }

  // One message; by turns a question, which is counted in the session, and an answer.
  Request AppendRequest(std::size_t bytes) {
    v1::AppendMessagesRequest request;
    const std::string& id = AnyOf(interview_ids_);
    request.set_session_id(id);
    request.set_request_id(RequestId());
    v1::SessionMessage& message = *request.add_messages();
    message.set_content(text_.substr(random_() % (text_.size() - bytes), bytes));
    message.set_author("Ada Lovelace");
    if (next_message_++ % 2 == 0) {
      message.set_type("question");
      message.set_question_type("technical");
    } else {
      message.set_type("answer");
    }
    return Request{Method::kAppend, Serialize(request), id, ""};
  }

  // Completes a task that runs, if there is one, else starts one: so one call in two is either.
  // Sessions come one after the other, never again while one of their calls is in flight.
  Request TaskRequest() {
    if (!started_tasks_.empty()) {
      const StartedTask task = std::move(started_tasks_.front());
      started_tasks_.pop_front();
      v1::CompleteTaskRequest request;
      request.set_session_id(std::string(task.session_id));
      request.set_request_id(RequestId());
      request.set_task_id(task.task_id);
      (*request.mutable_result()->mutable_fields())["tickets"].set_number_value(5);
      return Request{Method::kComplete, Serialize(request), task.session_id, ""};
    }
    if (worked_ids_.empty()) throw std::runtime_error(kNothingPrepared);
    const std::string& id = worked_ids_[next_task_++ % worked_ids_.size()];
    v1::StartTaskRequest request;
    request.set_session_id(id);
    request.set_request_id(RequestId());
    request.set_task_type("processing");
    return Request{Method::kStart, Serialize(request), id, ""};
  }

  // By turns of every severity; the blocking ones are counted in the session.
  Request RecordRequest() {
    v1::RecordErrorRequest request;
    const std::string& id = AnyOf(worked_ids_);
    request.set_session_id(id);
    request.set_request_id(RequestId());
    v1::SessionError& error = *request.mutable_error();
    error.set_category(static_cast<v1::SessionError::Category>(1 + next_error_ % 3));
    error.set_severity(static_cast<v1::SessionError::Severity>(1 + next_error_ % 3));
    ++next_error_;
    error.set_user_message("The photo of the north gate cannot be read; upload it again");
    error.add_recovery_actions("Upload the photo again");
    error.add_recovery_actions("Go on without it");
    (*error.mutable_technical_details()->mutable_fields())["decoder"].set_string_value(
        "unexpected end of file at byte 18234");
    error.set_error_code("IMAGE_UNREADABLE");
    return Request{Method::kRecord, Serialize(request), id, ""};
  }

  const std::string& AnyOf(const Ids& ids) {
    if (ids.empty()) throw std::runtime_error(kNothingPrepared);
    return ids[random_() % ids.size()];
  }

  std::string SiteName() { return absl::StrCat("Harbour Street ", random_() % 100000); }
  std::string RequestId() { return absl::StrFormat("%016x-%016x", random_(), random_()); }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::uint64_t calls_ = 0;
  std::mt19937_64 random_{std::random_device{}()};

  Ids advanced_ids_;
  std::int64_t next_advance_ = 0;
  Ids updated_ids_;
  std::uint64_t next_update_ = 0;
  // Letters at random, of which messages are cut: what PostgreSQL cannot compress.
  std::string text_;
  Ids interview_ids_;
  std::uint64_t next_message_ = 0;
  Ids worked_ids_;  // those that tasks run on, and errors are recorded in
  absl::string_view reach_stage_;
  std::size_t next_to_reach_ = 0;
  std::uint64_t next_task_ = 0;
  std::deque<StartedTask> started_tasks_;
  std::uint64_t next_error_ = 0;
  Ids created_ids_;
  std::int64_t creating_left_ = 0;
};

float Quantile(const std::vector<float>& sorted, double q) {
  return sorted.empty()
             ? 0
             : sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(sorted.size() * q))];
}

void Print(Report report) {
  std::sort(report.latencies_us.begin(), report.latencies_us.end());
  double sum = 0;
  for (float latency : report.latencies_us) sum += latency;
  const double answered = static_cast<double>(report.latencies_us.size());
  absl::PrintF(R"({"seconds": %.3f, "requests_all": %d, "failures": %d, "per_second": %.1f, )"
               R"("mean_us": %.1f, )"
               R"("p50_us": %.1f, "p99_us": %.1f, "max_us": %.1f})"
               "\n",
               report.seconds, report.requests_all, report.failures,
               report.seconds > 0 ? answered / report.seconds : 0,
               answered > 0 ? sum / answered : 0, Quantile(report.latencies_us, 0.5),
               Quantile(report.latencies_us, 0.99), Quantile(report.latencies_us, 1));
  std::fflush(stdout);
  if (report.failures > 0) absl::FPrintF(stderr, "%s\n", report.first_failure);
}

Operation ParseOperation(const std::string& name) {
  constexpr std::pair<absl::string_view, Operation> kOperations[] = {
      {"advance", Operation::kAdvance},
      {"update", Operation::kUpdate},
      {"get", Operation::kGet},
      {"messages256", Operation::kMessages256},
      {"messages16k", Operation::kMessages16k},
      {"tasks", Operation::kTasks},
      {"errors", Operation::kErrors}};
  for (const auto& [known, operation] : kOperations) {
    if (name == known) return operation;
  }
  throw std::runtime_error(absl::StrCat("there is no operation `", name, "`; load.h names them"));
}

void Obey(Generator& generator, const std::string& line) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  if (word == "prepare") {
    std::int64_t count = 0;
    if (!(words >> word >> count)) throw std::runtime_error("use: prepare OPERATION COUNT");
    generator.Prepare(ParseOperation(word), count);
    absl::PrintF("{\"prepared\": %d}\n", count);
    std::fflush(stdout);
    return;
  }
  const Operation operation = ParseOperation(word);
  int in_flight = 0;
  double seconds = 0;
  double rate = 0;
  if (!(words >> in_flight >> seconds) || in_flight < 1 || seconds <= 0) {
    throw std::runtime_error("use: OPERATION IN_FLIGHT SECONDS [RATE]");
  }
  words >> rate;
  Print(generator.Run(operation, in_flight, Seconds(seconds), rate));
}

}  // namespace

int RunLoad(const LoadOptions& options) try {
  Generator generator(options);
  for (std::string line; std::getline(std::cin, line);) Obey(generator, line);
  return 0;
} catch (const std::runtime_error& error) {
  absl::FPrintF(stderr, "sessiond_bench: %s\n", error.what());
  return 1;
}

}  // namespace sessiond::bench
