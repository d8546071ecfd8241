#include "tests/simulation/world.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "db/write/submission.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/workflow_catalog.h"
#include "tests/commands.h"
#include "tests/simulation/commands.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/history.h"
#include "tests/simulation/model_database.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/virtual_time.h"
#include "tests/simulation/watcher.h"

namespace sessiond::simulation {
namespace {

// A request is remembered for a day: later than this, nobody repeats one.
constexpr absl::Duration kRepeatedMax = absl::Hours(20);

// Made once: parsing definitions takes longer than a run.
WorkflowCatalog& Catalog() {
  static auto& catalog = *new WorkflowCatalog();
  if (catalog.Names().empty()) {
    catalog.Add(BuiltinWorkflow("interview"));
    catalog.Add(BuiltinWorkflow("ticket_export"));
    v1::Workflow short_lived = ShortLivedDefinition();
    short_lived.set_revision(1);
    catalog.Add(*Workflow::Make(short_lived));
  }
  return catalog;
}

class World {
 public:
  explicit World(const RunOptions& options);
  RunResult Run();

 private:
  struct Node {
    std::shared_ptr<Daemon> daemon;
    int lanes = 1;
  };
  // A call: one command, sent until its caller knows what became of it.
  struct Sent : Attempt {
    World* world = nullptr;
    std::shared_ptr<Process> process;
    std::atomic<bool> has_left = false;
    bool done = false;
    void Done() noexcept override { world->OnDone(*this); }
  };

  Random& random() { return scheduler_.random(); }
  std::shared_ptr<Daemon> Start(int node);
  Daemon* DrawDaemon(const Command& command);
  Sent* Send(const Command& command);
  void Address(Sent* sent);
  void OnDone(Sent& sent);

  Command OtherThan(const Command& command);
  void Call(const Command& command);
  bool IsDefinite(const Sent& sent) const;
  void RunClient(int calls);
  void RunHousekeeping();
  void RunWatcher(Watcher& watcher);
  void RunWeather();
  void RunEnd();
  void Crash(int node);
  void Drain(int node);
  void LockByHand();

  Scheduler scheduler_;
  Machine elsewhere_;  // Where callers and the database are.
  Faults faults_;
  const PageTokens page_tokens_{"a key of all daemons"};
  ModelDatabase database_;
  History history_;
  const Surroundings all_;
  std::vector<Node> nodes_;
  std::vector<std::string> session_ids_;
  std::vector<std::unique_ptr<Sent>> sent_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
  int clients_running_ = 0, watchers_running_ = 0;
  int requests_ = 0;
  // Which daemon callers prefer: any, one for each session, or one for all. Where a daemon is left
  // alone, it relies on what it has cached.
  enum class Prefers { kAny, kBySession, kOne } prefers_ = Prefers::kAny;
  // How rarely something goes wrong.
  absl::Duration calm_;
  // Nothing goes wrong any more, and everybody is to finish.
  bool settling_ = false, stopping_ = false;
  RunResult result_;
};

World::World(const RunOptions& options)
    : scheduler_(options.seed),
      database_(scheduler_, kPartitions,
                [this](const Writes& writes) { history_.OnCommit(writes, database_); }),
      history_(scheduler_, database_, Catalog(), kPartitions),
      all_{scheduler_, database_, Catalog(), page_tokens_, faults_} {
  if (options.trace) scheduler_.PrintTrace();
}

// -------------------------------------------------------------------------------------------------
// daemons

std::shared_ptr<Daemon> World::Start(int node) {
  auto process = std::make_shared<Process>();
  process->machine.clock_begins =
      absl::ToInt64Nanoseconds(random().Between(absl::Hours(1), absl::Hours(10000)));
  process->machine.drift = random().Below(200) - 100;
  nodes_[node].daemon = Daemon::Start(all_, process, nodes_[node].lanes);
  return nodes_[node].daemon;
}

Daemon* World::DrawDaemon(const Command& command) {
  std::size_t node = 0;
  if (prefers_ == Prefers::kAny || random().OneIn(30)) {
    node = random().Below(static_cast<int>(nodes_.size()));
  } else if (prefers_ == Prefers::kBySession && !command.session_id.empty()) {
    node = PartitionOf(command.session_id, kPartitions) % nodes_.size();
  }
  Daemon& daemon = *nodes_[node].daemon;
  return daemon.open() ? &daemon : nullptr;
}

// As by kill -9. What it has sent is still on its way.
void World::Crash(int node) {
  scheduler_.Trace(absl::StrCat("daemon ", node, " crashes"));
  ++result_.crashes;
  Process& process = *nodes_[node].daemon->process();
  process.crashed = true;
  process.machine.suspended_until = 0;
  for (const auto& sent : sent_) {
    if (sent->process.get() == &process) sent->done = true;
  }
  scheduler_.Sleep(random().Between(absl::Milliseconds(1), absl::Seconds(2)));
  Start(node);
}

void World::Drain(int node) {
  scheduler_.Trace(absl::StrCat("daemon ", node, " drains"));
  Daemon& daemon = *nodes_[node].daemon;
  daemon.process()->draining = true;
  scheduler_.Await([&] { return daemon.idle(); });
  Start(node);
}

// -------------------------------------------------------------------------------------------------
// callers

// SessionStore::Address.
void World::Address(Sent* sent) {
  Command& command = sent->command;
  const bool creation = std::holds_alternative<v1::CreateSessionRequest>(command.request);
  sent->request_key =
      RequestKeyOf(command.caller, creation ? "" : command.session_id, command.request_id);
  command.seed = db::SeedOf(sent->request_key);
  sent->fingerprint = std::visit(
      [](const auto& request) {
        return DigestOf({request.GetTypeName(), Bytes(request)});
      },
      command.request);
  if (creation) {
    sent->request_partition = PartitionOf(sent->request_key, kPartitions);
    if (command.session_id.empty()) {
      command.session_id_drawn = true;
      command.session_id = MakeSessionIdIn(sent->request_partition, kPartitions, v1::Workflow::UUID,
                                           database_.Now(), [this] { return random().Bits(); });
    }
  }
  sent->partition = PartitionOf(command.session_id, kPartitions);
  if (!creation) sent->request_partition = sent->partition;
}

World::Sent* World::Send(const Command& command) {
  Daemon* daemon = DrawDaemon(command);
  if (daemon == nullptr) return nullptr;
  sent_.push_back(std::make_unique<Sent>());
  Sent* sent = sent_.back().get();
  sent->world = this;
  sent->process = daemon->process();
  sent->command = command;
  Address(sent);
  sent->called = scheduler_.step();
  sent->called_at = database_.Now();
  // By the daemon's clock.
  const Machine& machine = sent->process->machine;
  VirtualTime::Set(machine.SteadyAt(scheduler_.now()));
  const absl::Duration patience =
      random().OneIn(6) ? absl::Milliseconds(1 + random().Below(60)) : absl::Seconds(15);
  sent->deadline = {SteadyTime::Now() + patience, &sent->has_left};
  VirtualTime::Set(elsewhere_.SteadyAt(scheduler_.now()));
  history_.OnCalled(*sent);
  daemon->Submit(sent);
  return sent;
}

void World::OnDone(Sent& sent) {
  if (sent.process->crashed) return;
  sent.answered = scheduler_.step();
  scheduler_.Trace(absl::StrCat(sent.command.request_id, " ", sent.command.session_id, ": ",
                                sent.outcome.ok() ? absl::StrCat(sent.outcome->session.sequence(),
                                                                 " ", sent.outcome->events.size())
                                                  : std::string(sent.outcome.status().message())));
  history_.OnAnswer(sent);
  sent.done = true;
}

bool World::IsDefinite(const Sent& sent) const {
  if (sent.answered == 0) return false;
  if (sent.outcome.ok()) return true;
  const absl::StatusCode code = sent.outcome.status().code();
  return code != absl::StatusCode::kDeadlineExceeded && code != absl::StatusCode::kCancelled &&
         CategoryOf(ReasonOf(sent.outcome.status())) != Category::kTemporary;
}

// With the same request id, as no caller should.
Command World::OtherThan(const Command& command) {
  Command other = DrawChange(command.session_id, history_.Now(command.session_id), random());
  other.caller = command.caller;
  return WithRequestId(std::move(other), command.request_id);
}

void World::Call(const Command& command) {
  const absl::Time begun = database_.Now();
  const Instant begun_at = scheduler_.now();
  for (;;) {
    // Now and then to two at once, and now and then with another request of the same id.
    std::vector<Sent*> sent;
    const int twins = random().OneIn(6) ? 2 : 1;
    const bool by_client = command.workflow == nullptr && command.caller != "system";
    for (int i = 0; i < twins; ++i) {
      const bool other = i == 1 && by_client && random().OneIn(4);
      Sent* one = Send(other ? OtherThan(command) : command);
      if (one != nullptr) sent.push_back(one);
    }
    const absl::Duration patience =
        random().Between(absl::Milliseconds(5), settling_ ? absl::Minutes(1) : absl::Seconds(5));
    scheduler_.Await(
        [&] {
          return std::all_of(sent.begin(), sent.end(), [](const Sent* one) { return one->done; });
        },
        scheduler_.now() + absl::ToInt64Nanoseconds(patience));
    for (Sent* one : sent) {
      if (IsDefinite(*one)) {
        if (command.session_id.empty() && one->outcome.ok())
          session_ids_.push_back(one->command.session_id);
        return;
      }
    }
    if (random().OneIn(2)) {
      for (Sent* one : sent) one->has_left = true;
    }
    // Some give up.
    if (random().OneIn(12) && !settling_) return;
    scheduler_.Sleep(random().Between(absl::Milliseconds(1), absl::Seconds(1)));
    const absl::Duration waited =
        std::max(absl::Nanoseconds(scheduler_.now() - begun_at), database_.Now() - begun);
    if (waited > kRepeatedMax) return;
  }
}

void World::RunClient(int calls) {
  for (int i = 0; i < calls; ++i) {
    const int at_most = random().OneIn(4) ? 3000 : 30;
    scheduler_.Sleep(random().Between(absl::Microseconds(100), absl::Milliseconds(at_most)));
    const std::string id = random().Of(session_ids_);
    const Aggregate& aggregate = history_.Now(id);
    const bool there = aggregate.session.has_value();
    const bool create = !there ? !random().OneIn(8) : random().OneIn(20);
    const bool by_itself = create && random().OneIn(3);
    Command command = create ? DrawCreation(by_itself ? "" : id, all_.catalog, random())
                             : DrawChange(id, aggregate, random());
    command = WithRequestId(std::move(command), absl::StrCat("r", ++requests_));
    Call(command);
  }
  --clients_running_;
}

void World::RunHousekeeping() {
  while (!settling_) {
    scheduler_.Sleep(random().Between(absl::Milliseconds(10), absl::Seconds(2)));
    const std::string id = random().Of(session_ids_);
    const Aggregate& aggregate = history_.Now(id);
    if (!aggregate.session.has_value()) continue;
    Command command = DrawHousekeeping(id, aggregate, random());
    command.caller = "system";
    Call(WithRequestId(std::move(command), absl::StrCat("h", ++requests_)));
  }
  --clients_running_;
}

// -------------------------------------------------------------------------------------------------
// watches

void World::RunWatcher(Watcher& watcher) {
  while (!stopping_) {
    scheduler_.Sleep(random().Between(absl::Milliseconds(1), absl::Milliseconds(500)));
    const auto daemon = random().Of(nodes_).daemon;
    if (!daemon->open()) continue;
    const absl::Duration stays =
        settling_ ? absl::Seconds(30) : random().Between(absl::Milliseconds(5), absl::Seconds(20));
    watcher.Watch(daemon, scheduler_.now() + absl::ToInt64Nanoseconds(stays));
  }
  --watchers_running_;
}

// -------------------------------------------------------------------------------------------------
// what goes wrong

void World::LockByHand() {
  const auto backend = database_.Connect();
  const std::string id = random().Of(session_ids_);
  const auto partition = static_cast<int16_t>(random().Below(kPartitions));
  const bool locked = random().OneIn(3) ? database_.LockPartition(*backend, partition)
                                        : database_.LockSession(*backend, id);
  const absl::Duration kept = random().Between(absl::Milliseconds(5), absl::Seconds(4));
  if (locked) scheduler_.Trace(absl::StrCat("locked by hand for ", absl::FormatDuration(kept)));
  scheduler_.Spawn(elsewhere_, [this, backend, kept] {
    scheduler_.Sleep(kept);
    if (backend->alive) database_.End(*backend);
  });
}

void World::RunWeather() {
  while (!settling_) {
    scheduler_.Sleep(random().Between(absl::Milliseconds(5), calm_));
    const int node = random().Below(static_cast<int>(nodes_.size()));
    Process& process = *nodes_[node].daemon->process();
    const absl::Duration off = random().Between(absl::Milliseconds(1), absl::Hours(1));
    const absl::Duration step = random().OneIn(2) ? off : -off;
    switch (random().Below(10)) {
      case 0:
      case 1:
        scheduler_.Trace("the database goes down");
        ++result_.failovers;
        database_.Crash();
        scheduler_.Sleep(random().Between(absl::Milliseconds(50), absl::Seconds(4)));
        // Another server's clock.
        if (random().OneIn(2)) database_.StepClock(step);
        database_.Start();
        break;
      case 2:
        Crash(node);
        break;
      case 3:
        Drain(node);
        break;
      case 4: {
        const int64_t nanos =
            absl::ToInt64Nanoseconds(random().Between(absl::Milliseconds(10), absl::Seconds(20)));
        process.machine.suspended_until = scheduler_.now() + nanos;
        if (random().OneIn(2)) process.machine.stood_still += nanos;
        scheduler_.Trace("a machine is suspended");
        break;
      }
      case 5:
        scheduler_.Trace("the database's clock is set");
        database_.StepClock(step);
        break;
      case 6:
        if (random().OneIn(2)) {
          const absl::Duration passed = random().Between(absl::Minutes(1), absl::Hours(24 * 20));
          scheduler_.Trace(absl::StrCat("passed: ", absl::FormatDuration(passed)));
          scheduler_.Pass(passed);
        }
        break;
      case 7:
        process.cut_until = scheduler_.now() + absl::ToInt64Nanoseconds(random().Between(
                                                   absl::Milliseconds(1), absl::Seconds(5)));
        scheduler_.Trace("a network leads nowhere");
        break;
      default:
        LockByHand();
    }
    database_.RemoveOldRequests();
  }
  --clients_running_;
}

// When all calls are made: everything works again, and whatever was promised is there.
void World::RunEnd() {
  scheduler_.Await([this] { return clients_running_ <= 2; });
  settling_ = true;
  faults_.on = false;
  scheduler_.Await([this] { return clients_running_ == 0; });
  scheduler_.Trace("settles");
  const Instant late = scheduler_.now() + absl::ToInt64Nanoseconds(absl::Hours(1));
  const bool up_to_date = scheduler_.Await(
      [this] {
        return std::all_of(watchers_.begin(), watchers_.end(),
                           [](const auto& watcher) { return watcher->UpToDate(); });
      },
      late);
  if (!up_to_date) {
    for (const auto& watcher : watchers_) {
      if (!watcher->UpToDate())
        scheduler_.Fail(absl::StrCat("a watch never gets ", watcher->Missing()));
    }
  }
  history_.CheckEnd(database_);
  stopping_ = true;
  for (const Node& node : nodes_) node.daemon->process()->draining = true;
}

RunResult World::Run() {
  // One place draws all, in one order.
  prefers_ = static_cast<Prefers>(random().Below(3));
  calm_ = random().OneIn(2) ? absl::Seconds(2) : absl::Minutes(1);
  faults_.cut_one_in = random().OneIn(2) ? 60 : 500;
  faults_.slow_one_in = random().OneIn(2) ? 80 : 1000;
  const int daemons = 2 + random().Below(3);
  for (int i = 0; i < daemons; ++i) {
    nodes_.push_back({.lanes = 1 + random().Below(2)});
    Start(i);
  }
  const int sessions = 2 + random().Below(6);
  for (int i = 0; i < sessions; ++i) {
    const uint64_t high = random().Bits();
    const uint64_t low = random().Bits();
    session_ids_.push_back(MakeSessionId(v1::Workflow::UUID, database_.Now(), high, low));
  }
  const int clients = 2 + random().Below(4);
  const int calls = 8 + random().Below(24);
  clients_running_ = clients + 2;
  for (int i = 0; i < clients; ++i)
    scheduler_.Spawn(elsewhere_, [this, calls] { RunClient(calls); });
  scheduler_.Spawn(elsewhere_, [this] { RunHousekeeping(); });
  scheduler_.Spawn(elsewhere_, [this] { RunWeather(); });
  const int watches = 1 + random().Below(4);
  watchers_running_ = watches;
  for (int i = 0; i < watches; ++i) {
    v1::WatchSessionsRequest request;
    request.mutable_heartbeat_interval()->set_seconds(600);
    request.set_initial_state(random().OneIn(2));
    switch (random().Below(6)) {
      case 0:
        request.set_filter("owner_id = \"ada\"");
        break;
      case 1:
        request.set_filter("status = \"active\"");
        break;
      case 2:
        request.set_filter("labels.label-0 = \"value-1\"");
        break;
      case 3:
        for (int n = 0; n < 2; ++n) request.add_session_ids(random().Of(session_ids_));
        break;
      default:
        break;
    }
    const absl::Duration slowness =
        random().OneIn(3) ? absl::Milliseconds(500) : absl::Milliseconds(2);
    watchers_.push_back(std::make_unique<Watcher>(
        all_, history_, Watcher::Options{.request = request, .slowness = slowness}));
    scheduler_.Spawn(elsewhere_,
                     [this, watcher = watchers_.back().get()] { RunWatcher(*watcher); });
  }
  scheduler_.Spawn(elsewhere_, [this] { RunEnd(); });
  scheduler_.Run();

  result_.failure = scheduler_.failure();
  result_.hash = scheduler_.hash();
  result_.steps = scheduler_.step();
  result_.virtual_days = static_cast<double>(scheduler_.now()) / 86400e9;
  result_.commits = history_.commits;
  result_.events = history_.events;
  result_.acknowledged = history_.acknowledged;
  result_.refusals = history_.refusals;
  result_.repetitions = history_.repetitions;
  result_.unknown = history_.unknown;
  result_.cuts = faults_.cuts;
  result_.optimistic = faults_.optimistic;
  result_.from_memory = faults_.from_memory;
  result_.conflicts = faults_.conflicts;
  for (const auto& watcher : watchers_) {
    result_.deliveries += watcher->deliveries;
    result_.resumes += watcher->resumes;
    result_.expired += watcher->expired;
  }
  return result_;
}

}  // namespace

RunResult& operator+=(RunResult& sum, const RunResult& one) {
  sum.virtual_days += one.virtual_days;
  for (int64_t RunResult::*number :
       {&RunResult::steps, &RunResult::commits, &RunResult::events, &RunResult::acknowledged,
        &RunResult::refusals, &RunResult::repetitions, &RunResult::unknown, &RunResult::optimistic,
        &RunResult::from_memory, &RunResult::conflicts, &RunResult::cuts, &RunResult::crashes,
        &RunResult::failovers, &RunResult::deliveries, &RunResult::resumes, &RunResult::expired}) {
    sum.*number += one.*number;
  }
  return sum;
}

RunResult RunWorld(const RunOptions& options) {
  auto world = std::make_unique<World>(options);
  RunResult result = world->Run();
  // Fibers that were left in the middle refer to it, and to each other.
  if (!result.failure.empty()) static_cast<void>(world.release());
  return result;
}

}  // namespace sessiond::simulation
