// The load generator shares its cores with what it measures, so it is made cheap: one thread, one
// completion queue, calls in slots that are used again, raw bytes in and out (one reply in 64 is
// parsed and checked), no retries.
#include "tests/bench/load.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/bench/client.h"
#include "tests/bench/commands.h"
#include "tests/bench/keys.h"
#include "tests/bench/operations.h"

namespace sessiond::bench {
namespace {

constexpr int kMadeInFlight = 256;
// One in 64: parsing all replies costs the generator a quarter of its time; it is the daemon that
// is measured.
constexpr std::uint64_t kCheckEvery = 64;
// Left out of the figures: connections, caches and plans warm up.
constexpr Seconds kWarmUp(0.3);
constexpr std::chrono::seconds kPatience(20);

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

  void Failed(std::string failure) {
    if (failures++ == 0) first_failure = std::move(failure);
  }
};

class Generator {
 public:
  explicit Generator(const LoadOptions& options)
      : stubs_(Connect(options.target, options.channels)) {}

  Workload& workload() { return workload_; }

  // Makes all the calls that `operation` asks for, which is one that ends.
  void RunToTheEnd(Operation operation) {
    const Report report = Run(operation, kMadeInFlight, std::chrono::hours(1), 0);
    if (report.failures > 0) throw std::runtime_error(report.first_failure);
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
  // Answers false when there is nothing left to ask for.
  bool Begin(Operation operation, Call& call, Clock::time_point due) {
    std::optional<Request> request = workload_.Next(operation);
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
    if (!call.status.ok()) {
      report.Failed(absl::StrCat(Name(call.request.method), ": ", call.status.error_code(), " ",
                                 call.status.error_message()));
      return;
    }
    if (measured) {
      report.latencies_us.push_back(
          std::chrono::duration<float, std::micro>(now - call.due).count());
    }
    if (!call.request.awaited && calls_ % kCheckEvery != 0) return;
    if (std::string wrong = workload_.Take(call.request, call.reply); !wrong.empty())
      report.Failed(std::move(wrong));
  }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::uint64_t calls_ = 0;
  Workload workload_;
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
  Answer(R"({"seconds": %.3f, "requests_all": %d, "failures": %d, "per_second": %.1f, )"
         R"("mean_us": %.1f, )"
         R"("p50_us": %.1f, "p99_us": %.1f, "p999_us": %.1f, "max_us": %.1f})",
         report.seconds, report.requests_all, report.failures,
         report.seconds > 0 ? answered / report.seconds : 0, answered > 0 ? sum / answered : 0,
         Quantile(report.latencies_us, 0.5), Quantile(report.latencies_us, 0.99),
         Quantile(report.latencies_us, 0.999), Quantile(report.latencies_us, 1));
  if (report.failures > 0) absl::FPrintF(stderr, "%s\n", report.first_failure);
}

void Measure(Generator& generator, Operation operation, std::istringstream& words) {
  constexpr char kUse[] = "OPERATION IN_FLIGHT SECONDS [RATE]";
  int in_flight = 0;
  double seconds = 0;
  double rate = 0;
  Expect(words, kUse, in_flight, seconds);
  if (in_flight < 1 || seconds <= 0) throw std::runtime_error(absl::StrCat("use: ", kUse));
  words >> rate;
  Print(generator.Run(operation, in_flight, Seconds(seconds), rate));
}

void Obey(Generator& generator, std::istringstream& words) {
  std::string command;
  std::string name;
  std::int64_t count = 0;
  words >> command;
  if (command == "prepare") {
    Expect(words, "prepare OPERATION COUNT", name, count);
    generator.workload().Prepare(ParseOperation(name), count,
                                 [&](Operation operation) { generator.RunToTheEnd(operation); });
    Answer("{\"prepared\": %d}", count);
  } else if (command == "keys") {
    Expect(words, "keys uniform|zipf|hot", name);
    generator.workload().Use(ParseKeys(name));
    Answer("{\"keys\": \"%s\"}", name);
  } else if (command == "adopt") {
    Expect(words, "adopt COUNT", count);
    if (count < 0) throw std::runtime_error("there cannot be fewer than 0 sessions");
    generator.workload().Adopt(count);
    Answer("{\"adopted\": %d}", count);
  } else {
    Measure(generator, ParseOperation(command), words);
  }
}

}  // namespace

int RunLoad(const LoadOptions& options) {
  Generator generator(options);
  return ObeyStdin([&](std::istringstream& words) { Obey(generator, words); });
}

}  // namespace sessiond::bench
