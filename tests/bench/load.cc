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
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

enum class Operation { kCreate, kAdvance, kUpdate, kGet };

constexpr absl::string_view kStages[] = {"upload", "processing", "review", "jira_export",
                                         "completed"};
constexpr std::int64_t kAdvancesPerSession = std::size(kStages);

// Sessions are advanced in blocks, lap by lap: all of a block to `upload`, then all to
// `processing`, … So the same session comes again only after 16,383 others, never while it is in
// flight, and a block is as many rows as pgbench works on.
constexpr std::int64_t kBlock = 16384;

constexpr int kCreatesInFlight = 256;
// One in 64: parsing all replies costs the generator a quarter of its time; it is the daemon that
// is measured.
constexpr std::uint64_t kCheckEvery = 64;
// Left out of the figures: connections, caches and plans warm up.
constexpr Seconds kWarmUp(0.3);
constexpr std::chrono::seconds kPatience(20);

const std::string& Method(Operation operation) {
  static const std::string methods[] = {
      "/sessiond.v1.SessionService/CreateSession", "/sessiond.v1.SessionService/AdvanceSession",
      "/sessiond.v1.SessionService/UpdateSession", "/sessiond.v1.SessionService/GetSession"};
  return methods[static_cast<int>(operation)];
}

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

v1::Session Parse(grpc::ByteBuffer& bytes) {
  grpc::Slice slice;
  v1::Session session;
  if (!bytes.DumpToSingleSlice(&slice).ok() ||
      !session.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    throw std::runtime_error("a reply is not a Session");
  }
  return session;
}

// What a call asks for, and what its reply must show.
struct Request {
  grpc::ByteBuffer bytes;
  absl::string_view session_id;  // empty: any
  absl::string_view stage;       // empty: any
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
  }

  // Creates sessions until `count` advances can be made, or `count` sessions can be updated and
  // read.
  void Prepare(Operation operation, std::int64_t count) {
    std::vector<std::string>& ids = operation == Operation::kAdvance ? advanced_ids_ : updated_ids_;
    std::int64_t wanted = count;
    if (operation == Operation::kAdvance) {
      const std::int64_t sessions = (next_advance_ + count) / kAdvancesPerSession + 1;
      wanted = (sessions + kBlock - 1) / kBlock * kBlock;
    }
    creating_left_ = wanted - static_cast<std::int64_t>(ids.size());
    created_ids_.clear();
    const Report report = Run(Operation::kCreate, kCreatesInFlight, std::chrono::hours(1), 0);
    if (report.failures > 0) throw std::runtime_error(report.first_failure);
    std::move(created_ids_.begin(), created_ids_.end(), std::back_inserter(ids));
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
      Finish(operation, *call, now, now >= measure_from && now < end, report);
      idle.push_back(call);
    }
    report.seconds = Seconds(std::min(now, end) - measure_from).count();
    return report;
  }

 private:
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
    call.reader =
        stub.PrepareUnaryCall(&*call.context, Method(operation), call.request.bytes, &queue_);
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

  void Finish(Operation operation, Call& call, Clock::time_point now, bool measured,
              Report& report) {
    ++report.requests_all;
    if (!call.status.ok()) {
      if (report.failures++ == 0) {
        report.first_failure = absl::StrCat(Method(operation), ": ", call.status.error_code(), " ",
                                            call.status.error_message());
      }
      return;
    }
    if (measured) {
      report.latencies_us.push_back(
          std::chrono::duration<float, std::micro>(now - call.due).count());
    }
    if (operation != Operation::kCreate && calls_ % kCheckEvery != 0) return;
    const v1::Session session = Parse(call.reply);
    if (operation == Operation::kCreate) created_ids_.push_back(session.session_id());
    if ((!call.request.session_id.empty() && session.session_id() != call.request.session_id) ||
        (!call.request.stage.empty() && session.stage() != call.request.stage)) {
      if (report.failures++ == 0)
        report.first_failure = absl::StrCat("wrong reply: ", session.ShortDebugString());
    }
  }

  std::optional<Request> NextRequest(Operation operation) {
    switch (operation) {
      case Operation::kCreate:
        return creating_left_-- > 0 ? std::optional(CreateRequest()) : std::nullopt;
      case Operation::kAdvance:
        return AdvanceRequest();
      case Operation::kUpdate:
        return UpdateRequest();
      case Operation::kGet:
        break;
    }
    v1::GetSessionRequest request;
    request.set_session_id(AnyUpdated());
    return Request{Serialize(request), AnyUpdatedLast(), ""};
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
    return Request{Serialize(request), "", ""};
  }

  std::optional<Request> AdvanceRequest() {
    const std::int64_t block = next_advance_ / (kBlock * kAdvancesPerSession);
    const std::int64_t lap = next_advance_ / kBlock % kAdvancesPerSession;
    const std::size_t index = block * kBlock + next_advance_ % kBlock;
    if (index >= advanced_ids_.size()) return std::nullopt;
    ++next_advance_;
    v1::AdvanceSessionRequest request;
    request.set_session_id(advanced_ids_[index]);
    request.set_target_stage(std::string(kStages[lap]));
    request.set_request_id(RequestId());
    return Request{Serialize(request), advanced_ids_[index], kStages[lap]};
  }

  // By turns: a field of the context, a counter, a label (the one that is indexed).
  Request UpdateRequest() {
    v1::UpdateSessionRequest request;
    const std::string& id = AnyUpdated();
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
    return Request{Serialize(request), id, ""};
  }

  const std::string& AnyUpdated() {
    if (updated_ids_.empty())
      throw std::runtime_error("nothing to update or get; say `prepare update COUNT` first");
    last_updated_ = random_() % updated_ids_.size();
    return updated_ids_[last_updated_];
  }
  const std::string& AnyUpdatedLast() const { return updated_ids_[last_updated_]; }

  std::string SiteName() { return absl::StrCat("Harbour Street ", random_() % 100000); }
  std::string RequestId() { return absl::StrFormat("%016x-%016x", random_(), random_()); }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::uint64_t calls_ = 0;
  std::mt19937_64 random_{std::random_device{}()};

  std::vector<std::string> advanced_ids_;
  std::int64_t next_advance_ = 0;
  std::vector<std::string> updated_ids_;
  std::size_t last_updated_ = 0;
  std::uint64_t next_update_ = 0;
  std::vector<std::string> created_ids_;
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
  if (name == "advance") return Operation::kAdvance;
  if (name == "update") return Operation::kUpdate;
  if (name == "get") return Operation::kGet;
  throw std::runtime_error(
      absl::StrCat("there is no operation `", name, "`; use advance, update or get"));
}

void Obey(Generator& generator, const std::string& line) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  if (word == "prepare") {
    std::int64_t count = 0;
    if (!(words >> word >> count)) throw std::runtime_error("use: prepare advance|update COUNT");
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
    throw std::runtime_error("use: advance|update|get IN_FLIGHT SECONDS [RATE]");
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
