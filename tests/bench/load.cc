// The load generator shares its cores with what it measures, so it is made cheap: one completion
// queue, one thread (where calls are due at a rate a second one, which sends them), calls in slots
// that are used again, raw bytes in and out (one reply in 64 is parsed and checked), no retries.
#include "tests/bench/load.h"

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
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
  // Of those: RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED.
  std::int64_t refused = 0, late = 0;
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

  // Makes calls for `seconds` after warming up, or until there is nothing left to ask for: `rate` a
  // second, or, where that is 0, `in_flight` at any time. So many there are at most. `patience`:
  // how long each may take; 0 for as long as it likes.
  Report Run(Operation operation, int in_flight, Seconds seconds, double rate,
             Seconds patience = Seconds(0)) {
    patience_ = std::chrono::duration_cast<std::chrono::system_clock::duration>(patience);
    const Clock::time_point start = Clock::now();
    Phase phase{.measure_from = start + std::chrono::duration_cast<Clock::duration>(kWarmUp)};
    phase.end = phase.measure_from + std::chrono::duration_cast<Clock::duration>(seconds);
    std::vector<Call> calls(in_flight);
    return rate > 0 ? RunOpen(operation, calls, phase, start, rate)
                    : RunClosed(operation, calls, phase);
  }

 private:
  struct Phase {
    Clock::time_point measure_from;
    Clock::time_point end;
  };

  // Each answer is followed by the next call.
  Report RunClosed(Operation operation, std::vector<Call>& calls, const Phase& phase) {
    Report report;
    std::vector<Call*> idle;
    for (Call& call : calls) idle.push_back(&call);
    Clock::time_point now = Clock::now();
    for (bool more = true;;) {
      while (more && now < phase.end && !idle.empty()) {
        more = Begin(operation, *idle.back(), Clock::now());
        if (more) idle.pop_back();
      }
      if (idle.size() == calls.size()) break;
      Call& call = *Next();
      now = Clock::now();
      Finish(call, now, phase, report);
      idle.push_back(&call);
    }
    report.seconds = Seconds(std::min(now, phase.end) - phase.measure_from).count();
    return report;
  }

  // Each call is made when it is due, or as soon as there is a slot. A completion queue's own clock
  // ticks in milliseconds: waiting by it would send calls late, and in bursts.
  Report RunOpen(Operation operation, std::vector<Call>& calls, const Phase& phase,
                 Clock::time_point start, double rate) {
    Report report;
    absl::Mutex mutex;
    std::vector<Call*> idle;
    for (Call& call : calls) idle.push_back(&call);
    const auto interval = std::chrono::duration_cast<Clock::duration>(Seconds(1 / rate));
    grpc::Alarm all_sent;
    std::string trouble;
    std::jthread sender([&] {
      prctl(PR_SET_TIMERSLACK, 1);
      const auto has_slot = +[](std::vector<Call*>* idle) { return !idle->empty(); };
      try {
        bool more = true;
        for (Clock::time_point due = start; more && due < phase.end; due += interval) {
          std::this_thread::sleep_until(due);
          absl::MutexLock lock(&mutex);
          more = mutex.AwaitWithTimeout(absl::Condition(has_slot, &idle),
                                        absl::FromChrono(phase.end - Clock::now())) &&
                 Begin(operation, *idle.back(), due);
          if (more) idle.pop_back();
        }
        if (more) std::this_thread::sleep_until(phase.end);
      } catch (const std::exception& error) {
        trouble = error.what();
      }
      all_sent.Set(&queue_, gpr_time_0(GPR_CLOCK_MONOTONIC), nullptr);
    });
    Clock::time_point now = start;
    for (bool sending = true; sending || idle.size() < calls.size();) {
      Call* const call = Next();
      now = Clock::now();
      if (call == nullptr) {
        sender.join();
        sending = false;
        continue;
      }
      absl::MutexLock lock(&mutex);
      Finish(*call, now, phase, report);
      idle.push_back(call);
    }
    if (!trouble.empty()) throw std::runtime_error(trouble);
    report.seconds = Seconds(std::min(now, phase.end) - phase.measure_from).count();
    return report;
  }

  // Answers false when there is nothing left to ask for.
  bool Begin(Operation operation, Call& call, Clock::time_point due) {
    std::optional<Request> request = workload_.Next(operation);
    if (!request) return false;
    call.request = *std::move(request);
    call.reader.reset();  // before the context, in whose arena it lies
    call.context.emplace();
    if (patience_.count() > 0)
      call.context->set_deadline(std::chrono::system_clock::now() + patience_);
    call.reply.Clear();
    call.due = due;
    grpc::GenericStub& stub = *stubs_[++calls_ % stubs_.size()];
    call.reader = stub.PrepareUnaryCall(&*call.context, Name(call.request.method),
                                        call.request.bytes, &queue_);
    call.reader->StartCall();
    call.reader->Finish(&call.reply, &call.status, &call);
    return true;
  }

  // The next call answered, or null where an alarm went off.
  Call* Next() {
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kPatience) !=
        grpc::CompletionQueue::GOT_EVENT) {
      throw std::runtime_error("no call was answered for 20 seconds; is the daemon still there?");
    }
    return static_cast<Call*>(tag);
  }

  void Finish(Call& call, Clock::time_point now, const Phase& phase, Report& report) {
    ++report.requests_all;
    if (!call.status.ok()) {
      report.refused += call.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
      report.late += call.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
      report.Failed(absl::StrCat(Name(call.request.method), ": ", call.status.error_code(), " ",
                                 call.status.error_message()));
      return;
    }
    if (now >= phase.measure_from && now < phase.end) {
      report.latencies_us.push_back(
          std::chrono::duration<float, std::micro>(now - call.due).count());
    }
    if (!call.request.awaited && report.requests_all % kCheckEvery != 0) return;
    if (std::string wrong = workload_.Take(call.request, call.reply); !wrong.empty())
      report.Failed(std::move(wrong));
  }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::uint64_t calls_ = 0;
  std::chrono::system_clock::duration patience_{};
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
  Answer(R"({"seconds": %.3f, "requests_all": %d, "failures": %d, "refused": %d, "late": %d, )"
         R"("per_second": %.1f, )"
         R"("mean_us": %.1f, )"
         R"("p50_us": %.1f, "p99_us": %.1f, "p999_us": %.1f, "max_us": %.1f})",
         report.seconds, report.requests_all, report.failures, report.refused, report.late,
         report.seconds > 0 ? answered / report.seconds : 0, answered > 0 ? sum / answered : 0,
         Quantile(report.latencies_us, 0.5), Quantile(report.latencies_us, 0.99),
         Quantile(report.latencies_us, 0.999), Quantile(report.latencies_us, 1));
  if (report.failures > 0) absl::FPrintF(stderr, "%s\n", report.first_failure);
}

void Measure(Generator& generator, Operation operation, std::istringstream& words) {
  constexpr char kUse[] = "OPERATION IN_FLIGHT SECONDS [RATE [PATIENCE]]";
  int in_flight = 0;
  double seconds = 0;
  double rate = 0, patience = 0;
  Expect(words, kUse, in_flight, seconds);
  if (in_flight < 1 || seconds <= 0) throw std::runtime_error(absl::StrCat("use: ", kUse));
  words >> rate >> patience;
  Print(generator.Run(operation, in_flight, Seconds(seconds), rate, Seconds(patience)));
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
