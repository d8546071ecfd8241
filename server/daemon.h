// The daemon: owns every part, starts them in order, and ends them in reverse.
//
//   embedded PostgreSQL ─▶ schema ─▶ SessionStore ─▶ gRPC ─▶ HTTP ─▶ monitor ─▶ ready
//   stop it             ◀─            drain it    ◀─ finish calls ◀─ stop ◀─ stop ◀─ not ready
#pragma once

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/committed.h"
#include "db/postgres/database_probe.h"
#include "db/postgres/embedded_postgres.h"
#include "db/postgres/postgres_supervisor.h"
#include "db/session_store.h"
#include "server/config/address.h"
#include "server/config/config.h"
#include "server/database.h"
#include "server/front_door/front_door.h"
#include "server/http/http_server.h"
#include "server/last_resort.h"
#include "server/ops/journal.h"
#include "server/ops/metrics.h"
#include "server/ops/readiness.h"
#include "server/reloaded_security.h"
#include "server/rpc/dispatcher.h"
#include "server/rpc/health_service.h"
#include "server/rpc/reflection.h"
#include "server/rpc/server.h"
#include "server/rpc/services.h"
#include "server/sweeper.h"
#include "server/watch/hub_feeder.h"

namespace sessiond {

class Daemon {
 public:
  // Returns when the daemon serves. On an error the message is one sentence that says how to fix
  // it, and nothing is left running. `supervisor` is null with --db-url, and outlives the daemon.
  // CANCELLED: it was asked to `stop` in the meantime.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(Config config,
                                                       db::PostgresSupervisor* supervisor,
                                                       const std::stop_token& stop);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // What a person needs to know first: where it listens, where the data is, what to type.
  std::string Banner() const;

  // Has certificates and access loaded again, soon. False: there are none. Any thread.
  bool Reload();

  // Reports that it is not ready, serves on for drain_delay, lets calls finish for shutdown_grace,
  // ends streams, and stops everything. Once.
  void Drain();

  // The process's, after a drain. 1: the embedded PostgreSQL is lost, for which the daemon stops
  // itself, or did not end as it should.
  int exit_code() const { return database_lost_ ? 1 : 0; }

 private:
  Daemon(Config config, std::unique_ptr<ReloadedSecurity> security);

  // The steps of a start, in order. A database of --db-url may take --db-wait to let us in.
  absl::Status AwaitDatabase(db::PostgresSupervisor* supervisor, const std::stop_token& stop);
  absl::Status OpenDatabaseAndStore(db::PostgresSupervisor* supervisor,
                                    const std::stop_token& stop);
  absl::Status RequireDurability();
  void TellPrivileges();
  absl::Status OpenStore();
  absl::Status StartRpc();
  absl::Status StartHttp();
  void StartMonitor();
  void JoinThreads();

  // Asks the database whether lanes can work; the result is for Readiness.
  absl::StatusOr<int> Probe();
  // Probes, reports the result, and logs changes of it.
  void ObserveDatabase();
  // Calls its own port, and reports the result.
  void GoRound();
  void TellReadiness();
  void WarnOfOpenDoors() const;
  // Now and then: whether the database would accept the connections that are not open yet, and
  // whether it still keeps what it acknowledged. REQUIRES: the probe has just succeeded.
  void ExamineDatabase();
  void CountConnections();
  void ObserveConnections(const absl::Status& enough);
  // Whether the connections that are not open yet are let in, by whatever is in between.
  void TryConnections();
  void CheckDurability();

  const Config config_;
  const absl::Time started_ = absl::Now();
  const SteadyTime started_at_ = SteadyTime::Now();
  std::vector<Address> grpc_addresses_;

  const std::unique_ptr<ReloadedSecurity> security_;
  Metrics metrics_;
  db::LaneReports lane_reports_;
  Readiness readiness_;
  rpc::HealthService health_;
  rpc::Reflection reflection_;
  Journal journal_;

  Database database_;
  db::CommittedListener committed_;
  std::unique_ptr<db::SessionStore> store_;
  std::unique_ptr<watch::HubFeeder> watches_;
  std::unique_ptr<Sweeper> sweeper_;
  std::unique_ptr<rpc::Services> services_;
  std::unique_ptr<rpc::Dispatcher> dispatcher_;
  std::unique_ptr<rpc::Server> rpc_;
  std::unique_ptr<http::HttpServer> http_;

  SteadyEvent stop_monitor_, stop_rounds_;
  absl::Mutex readiness_mutex_;
  bool last_ready_ ABSL_GUARDED_BY(readiness_mutex_) = true;
  // Monitor's thread only, once it runs.
  std::unique_ptr<db::DatabaseProbe> probe_;
  bool database_answers_ = true;
  absl::Status connections_;
  // Whether those that were missing were let in when it was last tried; at the start all.
  absl::Status let_in_;
  SteadyTime try_due_;
  absl::Duration try_period_;
  bool counted_too_few_ = false;
  absl::Status durable_;
  SteadyTime examine_due_;
  std::atomic<bool> database_lost_ = false;
  std::atomic<bool> draining_ = false;
  std::unique_ptr<LastResort> last_resort_;
  std::thread monitor_;
  // Never waits for the database: making the rounds proves that the daemon is alive.
  std::thread rounds_;
  // Looks at files and streams.
  std::thread guard_;
  std::atomic<bool> reload_asked_ = false;
};

}  // namespace sessiond
