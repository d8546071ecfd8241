#include "server/daemon.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"
#include "db/postgres/capacity.h"
#include "db/postgres/durability.h"
#include "db/postgres/migrate.h"
#include "proto/embedded.h"
#include "server/http/openapi.h"
#include "server/identity/server_credentials.h"
#include "server/ops/log.h"
#include "server/option_checks.h"
#include "server/own_call.h"
#include "server/workflows_dir.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/workflow_service.pb.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

// For what ends after the calls: threads, connections.
constexpr absl::Duration kOverrunMax = absl::Seconds(2);
constexpr absl::Duration kProbePeriod = absl::Seconds(1);
// How often it is checked whether the database would accept the connections that are not open yet,
// which reads the list of all of the server's connections; and whether it keeps what it
// acknowledged: after a failover it is another server, and settings can be changed at any time.
constexpr absl::Duration kExaminePeriod = absl::Seconds(10);
constexpr absl::Duration kTryPeriodMax = absl::Seconds(80);

// A write check (db/postgres/database_probe.h) has two statements, which end by themselves before
// that.
constexpr absl::Duration kProbeTimeout = absl::Seconds(4);
// How often a start tries a database that does not let it in yet.
constexpr absl::Duration kDatabasePeriod = absl::Milliseconds(500);
// Each call opens a connection of its own.
constexpr absl::Duration kOwnCallPeriod = absl::Seconds(2);
constexpr absl::Duration kOwnCallTimeout = absl::Seconds(2);
// How often files are looked at, and streams: of what has changed, callers notice within ten
// seconds, and one whose reader has stopped is cut off by then.
constexpr absl::Duration kGuardPeriod = absl::Seconds(3);
// Of unix sockets, which are for the daemon's user and group: 0660.
constexpr mode_t kSocketMask = 0117;

std::vector<std::string> ServedServices() {
  std::vector<std::string> services = rpc::ServiceNames();
  services.push_back("grpc.health.v1.Health");
  return services;
}

front_door::ConnectionLimits ConnectionsThatFit(const Config& config) {
  const auto wanted = static_cast<std::size_t>(config.connections_max);
  const front_door::ConnectionLimits limits = front_door::WhatFits(
      {.in_all = wanted,
       .per_address = static_cast<std::size_t>(config.connections_per_address_max)});
  if (limits.in_all < wanted) {
    Log(LogLevel::kInfo, "daemon",
        "the limit of open files leaves fewer connections than --connections-max: raise "
        "LimitNOFILE for more",
        {{"connections_max", limits.in_all}});
  }
  return limits;
}

std::string DescribeCalls(const rpc::Dispatcher& dispatcher) {
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const rpc::Dispatcher::Row& row : dispatcher.rows())
    methods.push_back(row.method->descriptor);
  return http::OpenApi(methods, DescriptorSet());
}

// As a person would type it to reach us: a wildcard cannot be connected to.
std::string Reachable(const Address& address) {
  if (address.is_unix()) return ToString(address);
  const bool wildcard = address.host == "0.0.0.0" || address.host == "::";
  return ToString({wildcard ? "localhost" : address.host, address.port});
}

// The flag that sessionctl needs to reach us: empty if the default does.
std::string ServerFlag(const Address& address) {
  const bool default_host = address.host == "127.0.0.1" || address.host == "localhost" ||
                            address.host == "0.0.0.0" || address.host == "::";
  const char* variable = std::getenv("SESSIOND_SERVER");
  if (default_host && !address.is_unix() && address.port == 7377 &&
      (variable == nullptr || *variable == '\0'))
    return "";
  return absl::StrCat("--server ", Reachable(address), " ");
}

}  // namespace

// ----------------------------------------------------------------------------------------- start

Daemon::Daemon(Config config, std::unique_ptr<ReloadedSecurity> security)
    : config_(std::move(config)),
      security_(std::move(security)),
      metrics_(rpc::ServiceNames()),
      health_(ServedServices(), [this] { return readiness_.alive(SteadyTime::Now()); }),
      reflection_(DescriptorSet(), ServedServices(), &security_->gate()),
      journal_(metrics_) {}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(Config config,
                                                      db::PostgresSupervisor* supervisor,
                                                      const std::stop_token& stop) {
  if (absl::Status status = CheckAddresses(config); !status.ok()) return status;
  auto security = ReloadedSecurity::Load(config, rpc::ServiceNames());
  if (!security.ok()) return security.status();
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(config), *std::move(security)));
  daemon->WarnOfOpenDoors();
  if (absl::Status status = daemon->AwaitDatabase(supervisor, stop); !status.ok()) return status;
  for (const auto step : {&Daemon::StartRpc, &Daemon::StartHttp}) {
    if (stop.stop_requested()) return absl::CancelledError("asked to stop");
    if (absl::Status status = (daemon.get()->*step)(); !status.ok()) return status;
  }
  daemon->sweeper_ = std::make_unique<Sweeper>(
      SweeperOptions{.dsn = daemon->database_.dsn,
                     .retention_period = daemon->config_.retention_period},
      *daemon->store_, daemon->journal_);
  daemon->StartMonitor();
  Log(LogLevel::kInfo, "daemon", "ready",
      {{"version", SESSIOND_VERSION},
       {"grpc", ToString(daemon->grpc_addresses_)},
       {"http", daemon->http_ == nullptr ? "" : ToString(daemon->http_->address())},
       {"database", daemon->database_.embedded == nullptr ? "--db-url"
                                                          : daemon->database_.embedded->data_dir()},
       {"seconds", absl::ToDoubleSeconds(SteadyTime::Now() - daemon->started_at_)}});
  return daemon;
}

absl::Status Daemon::AwaitDatabase(db::PostgresSupervisor* supervisor,
                                   const std::stop_token& stop) {
  SteadyEvent asked_to_stop;
  const std::stop_callback notify(stop, [&asked_to_stop] { asked_to_stop.Notify(); });
  const SteadyTime end = started_at_ + config_.db_wait;
  for (bool told = false;; told = true) {
    absl::Status open = OpenDatabaseAndStore(supervisor, stop);
    // Our own PostgreSQL has been waited for.
    if (open.ok() || config_.db_url.empty() || !MayLetInLater(open) || SteadyTime::Now() >= end)
      return open;
    if (!told) {
      Log(LogLevel::kWarn, "daemon", "waiting for the database (--db-wait)",
          {{"why", ToldToOperator(open)}, {"at_most", absl::FormatDuration(config_.db_wait)}});
    }
    if (asked_to_stop.WaitAtMost(kDatabasePeriod)) return absl::CancelledError("asked to stop");
  }
}

absl::Status Daemon::OpenDatabaseAndStore(db::PostgresSupervisor* supervisor,
                                          const std::stop_token& stop) {
  auto database = OpenDatabase(config_, supervisor, stop);
  if (!database.ok()) return database.status();
  database_ = *std::move(database);
  const std::string& dsn = database_.dsn;
  if (absl::Status status = RequireDurability(); !status.ok()) return status;
  if (absl::Status status = PrepareSchema(database_, config_); !status.ok()) return status;
  if (absl::Status status = CheckRights(dsn); !status.ok()) return status;
  if (absl::Status status = CheckIntegrity(dsn); !status.ok()) return status;
  TellPrivileges();
  if (database_.embedded == nullptr) {
    const absl::Status enough = CheckCapacity(dsn, config_);
    let_in_ = absl::IsFailedPrecondition(enough) ? enough : absl::OkStatus();
    ObserveConnections(let_in_);
  }
  return stop.stop_requested() ? absl::CancelledError("asked to stop") : OpenStore();
}

absl::Status Daemon::RequireDurability() {
  if (config_.ephemeral) return absl::OkStatus();  // Nobody keeps its data.
  durable_ = CheckDurable(database_.dsn);
  if (absl::Status refused = RefuseUnsafe(durable_, config_); !refused.ok()) return refused;
  readiness_.ObserveDurability(durable_, config_.allow_unsafe_database);
  if (!durable_.ok()) {
    Log(LogLevel::kWarn, "daemon", "acknowledged changes can be lost",
        {{"why", durable_.message()}});
  }
  return absl::OkStatus();
}

void Daemon::TellPrivileges() {
  if (database_.embedded != nullptr) return;  // It has no other role than its owner.
  const absl::Status least = CheckLeastPrivilege(database_.dsn);
  if (!absl::IsFailedPrecondition(least)) return;
  Log(LogLevel::kWarn, "daemon", "the daemon's role in the database may do more than it must",
      {{"why", least.message()}});
}

absl::Status Daemon::OpenStore() {
  auto workflows = WorkflowsAtStart(config_.workflows_dir);
  if (!workflows.ok()) return workflows.status();
  db::SessionStoreOptions options;
  options.settings = {.dsn = database_.dsn,
                      .lock_timeout = config_.lock_timeout,
                      .statement_timeout = config_.statement_timeout};
  options.lanes = config_.lanes;
  options.inbox.group_items_max = config_.group_commands_max;
  options.cache_bytes_max = static_cast<std::size_t>(config_.kept_sessions_mib) << 20;
  options.query_connections = config_.query_connections;
  options.workflows = *std::move(workflows);
  options.on_group = [this](const db::GroupReport& group) {
    if (group.conflict) metrics_.GroupConflict();
    if (group.committed) {
      lane_reports_.Committed(SteadyTime::Now());
      metrics_.Group(static_cast<int>(group.commands), !group.looked_up, group.duration);
    } else if (absl::StartsWith(db::SqlStateOf(group.status), "58")) {
      // Of one file; whether anything can be written, the probe looks.
    } else if (const v1::ErrorReason why = ReasonOf(group.status);
               why == v1::DATABASE_UNAVAILABLE || why == v1::SCHEMA_MISMATCH) {
      lane_reports_.Failed(group.status, group.duration, SteadyTime::Now());
    }
  };
  options.listener = &committed_;
  auto store = db::SessionStore::Open(std::move(options), SteadyTime::Now() + kConnectTimeout);
  if (!store.ok()) return store.status();
  store_ = *std::move(store);
  watches_ = std::make_unique<watch::HubFeeder>(
      watch::HubFeederOptions{
          .dsn = database_.dsn,
          .hub = {.partition_count = store_->partition_count()},
          .on_change = [this](bool from_memory,
                              absl::Duration lag) { metrics_.WatchLag(from_memory, lag); }},
      *store_, committed_);
  metrics_.OnScrape([this] {
    metrics_.SetLaneInbox(store_->waiting());
    metrics_.SetWatches(watches_->hub().subscriptions());
    metrics_.SetSecurity(!security_->trouble().empty(), security_->not_after());
  });
  return absl::OkStatus();
}

absl::Status Daemon::StartRpc() {
  services_ = std::make_unique<rpc::Services>(*store_, *watches_, journal_, started_);
  dispatcher_ = std::make_unique<rpc::Dispatcher>(
      services_->Methods(), &security_->gate(), metrics_, journal_,
      [this](SteadyTime deadline, db::Importance importance) {
        return store_->CheckCapacity(deadline, importance);
      });
  rpc::ServerOptions options{.connections = ConnectionsThatFit(config_),
                             .connection_age_max = config_.connection_age_max,
                             .connection_idle_max = config_.connection_idle_max,
                             .dispatcher = dispatcher_.get(),
                             .standard_services = {&health_, &reflection_}};
  grpc_addresses_ = ParseAddresses(config_.grpc_listen).value();
  for (const Address& address : grpc_addresses_) {
    rpc::Listener listener{address};
    // Who may open a unix socket, its permissions say.
    if (security_->tls() != nullptr && !address.is_unix()) {
      listener.credentials =
          identity::TlsServerCredentials(security_->tls(), ClientAuthOf(config_));
    }
    options.listeners.push_back(std::move(listener));
  }
  grpc::EnableDefaultHealthCheckService(false);
  // Unix sockets are made with the rights that they keep: at no moment may others open them.
  const mode_t mask = umask(kSocketMask);
  auto server = rpc::Server::Start(std::move(options), metrics_);
  umask(mask);
  if (!server.ok()) return server.status();
  rpc_ = *std::move(server);
  metrics_.OnScrape([this] { metrics_.SetConnections(rpc_->door().connections().Count()); });
  for (std::size_t i = 0; i < grpc_addresses_.size(); ++i) {
    Address& address = grpc_addresses_[i];
    address.port = rpc_->bound()[i].port;
  }
  return absl::OkStatus();
}

absl::Status Daemon::StartHttp() {
  if (config_.http_listen == "off") return absl::OkStatus();
  http::Probes probes{
      .readiness = &readiness_,
      .metrics = [this] { return metrics_.Text(); },
      .asker =
          [this](const access::Credentials& credentials) {
            std::string why;
            const auto caller = security_->authenticator().Authenticate(credentials, &why);
            if (!caller.ok()) {
              Log(LogLevel::kInfo, "access", "not let in by HTTP", {{"why", why}});
              return http::Asker::kUnknown;
            }
            return (*caller)->scope.everything() ? http::Asker::kSeesEverything
                                                 : http::Asker::kKnown;
          },
      .open_metrics = [this] { return security_->authenticator().policy()->open_metrics(); },
      .open_api = DescribeCalls(*dispatcher_)};
  auto started = http::HttpServer::Start(
      {.listen = ParseAddress(config_.http_listen).value(),
       .probes = std::move(probes),
       .dispatcher = dispatcher_.get(),
       .cors = http::Cors(config_.http_allow_origins),
       .tls = security_->tls(),
       .connections_per_address_max = static_cast<std::size_t>(config_.connections_per_address_max),
       .metrics = &metrics_});
  if (!started.ok()) return started.status();
  http_ = *std::move(started);
  return absl::OkStatus();
}

// --------------------------------------------------------------------------------------- monitor

void Daemon::StartMonitor() {
  probe_ = std::make_unique<db::DatabaseProbe>(
      db::LaneSettings{
          .dsn = database_.dsn, .lock_timeout = config_.lock_timeout, .primary = store_->primary()},
      lane_reports_);
  last_resort_ = std::make_unique<LastResort>(
      LastResort::Options{.patience = config_.shutdown_grace + kOverrunMax,
                          .exit_code = [this] { return exit_code(); }});
  // Once before the daemon is called ready.
  ObserveDatabase();
  GoRound();
  monitor_ = std::thread([this] {
    while (!stop_monitor_.WaitAtMost(kProbePeriod)) ObserveDatabase();
  });
  rounds_ = std::thread([this] {
    while (!stop_rounds_.WaitAtMost(kOwnCallPeriod)) GoRound();
  });
  guard_ = std::thread([this] {
    while (!stop_rounds_.WaitAtMost(kGuardPeriod)) {
      security_->Refresh(reload_asked_.exchange(false));
      readiness_.ObserveSecurity(security_->trouble());
      dispatcher_->CheckStreams();
    }
  });
}

void Daemon::GoRound() {
  front_door::FrontDoor& door = rpc_->door();
  const int64_t refused = door.refused_of_address();
  absl::Status outcome =
      CallOneself(rpc_->bound().front(), security_->tls() != nullptr, kOwnCallTimeout);
  if (!outcome.ok()) {
    if (absl::Status full = door.LetsIn(); !full.ok()) {
      outcome = std::move(full);
    } else if (door.refused_of_address() > refused) {
      outcome = absl::OkStatus();  // Others of this machine have used up its connections.
    }
  }
  readiness_.ObserveOwnCall(outcome, SteadyTime::Now());
  TellReadiness();
}

void Daemon::WarnOfOpenDoors() const {
  const std::string missing = WhatIsMissing(config_);
  for (const auto& [address, option] : ListeningPlaces(config_)) {
    if (missing.empty() || IsLoopback(address)) continue;
    Log(LogLevel::kWarn, "daemon",
        security_->knows_callers()
            ? "whoever is on the way can read calls and their tokens: --insecure"
            : "whoever reaches this address can do everything: --insecure",
        {{"address", ToString(address)}, {"why", missing}});
  }
}

void Daemon::ObserveDatabase() {
  // A supervisor that does not respond may only be slow; and during a drain this would be a second
  // signal.
  if (database_.embedded != nullptr && !draining_ && !database_lost_ &&
      absl::IsUnavailable(database_.embedded->state().status())) {
    Log(LogLevel::kError, "daemon",
        "the supervisor of the embedded PostgreSQL is gone, and nobody can start it again: "
        "leaving");
    database_lost_ = true;
    kill(getpid(), SIGTERM);
  }
  const absl::StatusOr<int> schema_version = Probe();
  readiness_.Observe(schema_version, SteadyTime::Now());
  if (schema_version.ok()) ExamineDatabase();
  TellReadiness();
  if (stop_monitor_.HasHappened()) return;
  // Workflows that other daemons created; a failure does not matter, as there is a next time.
  if (schema_version.ok()) Forget(store_->RefreshWorkflows(SteadyTime::Now() + kProbeTimeout));
  if (schema_version.ok() == database_answers_) return;
  database_answers_ = schema_version.ok();
  if (database_answers_) {
    Log(LogLevel::kInfo, "daemon", "the database takes changes again");
  } else {
    Log(LogLevel::kWarn, "daemon", "the database takes no changes",
        {{"error", schema_version.status().message()}});
  }
}

void Daemon::TellReadiness() {
  const absl::MutexLock lock(&readiness_mutex_);
  const SteadyTime now = SteadyTime::Now();
  const bool ready = readiness_.ready(now);
  health_.SetReady(ready);
  if (std::exchange(last_ready_, ready) == ready) return;
  std::vector<std::string> why;
  for (const Readiness::Check& check : readiness_.Checks(now)) {
    if (!check.ok) why.push_back(absl::StrCat(check.name, ": ", check.detail));
  }
  if (ready) {
    Log(LogLevel::kInfo, "daemon", "ready again");
  } else {
    Log(LogLevel::kWarn, "daemon", "not ready", {{"why", absl::StrJoin(why, "; ")}});
  }
}

void Daemon::ExamineDatabase() {
  const bool safe = durable_.ok() || config_.allow_unsafe_database;
  if (connections_.ok() && safe && SteadyTime::Now() < examine_due_) return;
  examine_due_ = SteadyTime::Now() + kExaminePeriod;
  CountConnections();
  if (stop_monitor_.HasHappened()) return;
  if (!config_.ephemeral) CheckDurability();
}

void Daemon::CheckDurability() {
  const absl::Status durable =
      db::CheckDurability(probe_->connection(), SteadyTime::Now() + kProbeTimeout);
  if (!durable.ok() && !absl::IsFailedPrecondition(durable)) return;  // The probe will say why.
  readiness_.ObserveDurability(durable, config_.allow_unsafe_database);
  if (durable == durable_) return;
  durable_ = durable;
  if (durable.ok()) {
    Log(LogLevel::kInfo, "daemon", "acknowledged changes survive a crash again");
  } else {
    Log(LogLevel::kWarn, "daemon", "acknowledged changes can be lost",
        {{"why", durable.message()}});
  }
}

void Daemon::CountConnections() {
  absl::Status enough =
      db::CheckCapacity(probe_->connection(), ConnectionsNeeded(config_),
                        db::Connection::open_count(), SteadyTime::Now() + kProbeTimeout);
  if (!enough.ok() && !absl::IsFailedPrecondition(enough)) return;  // The probe will say why.
  // A connection that is being made counts in the database, and not here yet: once more.
  if (!enough.ok() && connections_.ok() && !std::exchange(counted_too_few_, true)) {
    examine_due_ = SteadyTime::Now();
    return;
  }
  counted_too_few_ = !enough.ok();
  // A pooler has limits that are not counted, and keeps connections that are: where the count and
  // the try differ, it is tried again. Where neither finds enough, it is not: to try takes those
  // that are left.
  if (enough.ok() != let_in_.ok() && SteadyTime::Now() >= try_due_) TryConnections();
  if (enough.ok() || let_in_.ok()) enough = let_in_;
  ObserveConnections(enough);
}

void Daemon::ObserveConnections(const absl::Status& enough) {
  readiness_.ObserveConnections(enough, SteadyTime::Now());
  if (enough.ok() == connections_.ok()) return;
  connections_ = enough;
  if (enough.ok()) {
    Log(LogLevel::kInfo, "daemon", "there are connections enough again");
  } else {
    Log(LogLevel::kWarn, "daemon", "there are too few connections", {{"why", enough.message()}});
  }
}

void Daemon::TryConnections() {
  const int missing = ConnectionsNeeded(config_) - db::Connection::open_count();
  const absl::Status let_in = db::TryConnections(database_.dsn, missing, "sessiond health",
                                                 SteadyTime::Now() + kConnectionsTime);
  // To try takes all that are left: the longer there are too few, the less often.
  try_period_ =
      std::clamp(let_in.ok() ? kExaminePeriod : 2 * try_period_, kExaminePeriod, kTryPeriodMax);
  try_due_ = SteadyTime::Now() + try_period_;
  if (let_in.ok() || absl::IsFailedPrecondition(let_in)) let_in_ = let_in;
}

absl::StatusOr<int> Daemon::Probe() {
  const absl::StatusOr<int> version = probe_->Look(SteadyTime::Now() + kProbeTimeout);
  // It is reachable, but must not be used: a grace would not help.
  if (absl::Status refused = store_->primary()->refusal(); !refused.ok()) return refused;
  const int needed = db::BuiltInMigrations().back().version;
  if (!version.ok() || *version >= needed) return version;
  return absl::FailedPreconditionError(
      absl::StrCat("it does not have schema ", needed, ": run `sessiond migrate up`"));
}

// ------------------------------------------------------------------------------------------- end

bool Daemon::Reload() {
  if (config_.tls_cert.empty() && config_.access_file.empty()) return false;
  reload_asked_ = true;
  return true;
}

void Daemon::Drain() {
  Log(LogLevel::kInfo, "daemon", "draining");
  draining_ = true;
  {
    const absl::MutexLock lock(&readiness_mutex_);
    readiness_.StartDraining();
    health_.SetReady(false);
  }
  absl::SleepFor(config_.drain_delay);
  stop_monitor_.Notify();  // What it is doing may take a while.

  // Callers are gone by the end of the grace. Their work may still hang in a database that does not
  // respond; nothing is lost with it: a repeated request returns what happened.
  last_resort_->Begin();
  sweeper_->Stop();
  rpc_->Stop(config_.shutdown_grace);
  if (http_ != nullptr) http_->EndCalls();
  sweeper_.reset();
  store_->Drain();
  http_.reset();
  JoinThreads();
  probe_.reset();
  rpc_.reset();
  dispatcher_.reset();
  services_.reset();
  watches_.reset();
  store_.reset();
  last_resort_.reset();  // PostgreSQL's end has its own time limit.
  if (database_.embedded != nullptr) {
    if (const absl::Status status = database_.embedded->Stop(); !status.ok()) {
      Log(LogLevel::kError, "daemon", status.message());
      database_lost_ = true;
    }
  }
  Log(LogLevel::kInfo, "daemon", "stopped");
}

Daemon::~Daemon() {
  if (!monitor_.joinable()) return;
  stop_monitor_.Notify();
  JoinThreads();
}

void Daemon::JoinThreads() {
  stop_rounds_.Notify();
  for (std::thread* const thread : {&monitor_, &rounds_, &guard_}) {
    if (thread->joinable()) thread->join();
  }
}

// ---------------------------------------------------------------------------------------- banner

std::string Daemon::Banner() const {
  const Address& first = grpc_addresses_.front();
  const std::string grpc = Reachable(first);
  const bool tls = security_->tls() != nullptr;
  const bool loopback = std::all_of(grpc_addresses_.begin(), grpc_addresses_.end(), IsLoopback);
  std::string text = absl::StrCat("sessiond ", SESSIOND_VERSION, tls ? "  TLS" : "  plaintext",
                                  !config_.access_file.empty() ? ", callers by the access file"
                                  : !config_.tls_client_ca.empty()
                                      ? ", every client certificate is admin (see --access-file)"
                                      : ", no authentication",
                                  loopback ? ", loopback only" : "", "\n");
  absl::StrAppend(&text, "  gRPC      ", ToString(grpc_addresses_), "\n");
  if (http_ != nullptr) {
    absl::StrAppend(&text, "  HTTP      ", tls ? "https://" : "http://",
                    Reachable(http_->address()),
                    "/readyz?verbose  /livez  /metrics  /openapi.json\n");
  }
  if (database_.embedded == nullptr) {
    absl::StrAppend(&text, "  Database  the one of --db-url\n");
  } else {
    absl::StrAppend(
        &text, "  Database  PostgreSQL ", database_.embedded->version(),
        " of its own; look inside: ", database_.embedded->psql_command(), "\n  Data      ",
        database_.embedded->data_dir(),
        config_.ephemeral ? " (thrown away at the end)\n" : " (kept across restarts)\n");
  }
  if (tls || security_->knows_callers()) {
    absl::StrAppend(&text, "  Try       sessionctl --server ", grpc, tls ? " --tls-ca CA.pem" : "",
                    " --token-file FILE whoami\n");
  } else {
    absl::StrAppend(&text, "  Try       sessionctl ", ServerFlag(first),
                    "session create --workflow interview --owner ada\n",
                    "            grpcurl -plaintext -d "
                    "'{\"session\":{\"workflow\":\"interview\",\"owner_id\":\"ada\"}}' ",
                    grpc, " ", rpc::ServiceNames().front(), "/CreateSession\n");
  }
  absl::StrAppend(
      &text, "Ready in ",
      absl::FormatDuration(absl::Trunc(SteadyTime::Now() - started_at_, absl::Milliseconds(1))),
      ". Ctrl-C ends it", database_.embedded == nullptr ? "" : ", and its PostgreSQL", ".\n");
  return text;
}

}  // namespace sessiond
