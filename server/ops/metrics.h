// What the daemon counts, for Prometheus. The grpc_server_* names, labels and pre-zeroed series are
// those of go-grpc-middleware, so that existing dashboards work; the rest is ours. docs/metrics.md
// lists them all, generated from this code.
//
// On the hot path nothing is looked up by text: an RPC gets its counters once, and counting is an
// atomic addition. No label ever contains an id, an owner or free text.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "sessiond/v1/error_reason.pb.h"

namespace sessiond {

// The counters of one RPC. Cheap, thread-safe, valid as long as the Metrics they came from.
class MethodMetrics {
 public:
  void Started() { started_->Increment(); }
  // `code`: a gRPC status code, 0 to 16. `duration`: from the first byte to the status.
  void Handled(int code, absl::Duration duration) {
    handled_[code]->Increment();
    seconds_->Observe(absl::ToDoubleSeconds(duration));
  }

 private:
  friend class Metrics;
  prometheus::Counter* started_ = nullptr;
  std::array<prometheus::Counter*, 17> handled_ = {};
  prometheus::Histogram* seconds_ = nullptr;
};

// Why a connection was refused.
enum class RefusedConnection { kTooMany, kTooManyOfAddress, kNoDescriptor };

// Thread-safe.
class Metrics {
 public:
  // `services`: full names of services known to Protobuf; each of their methods starts at zero.
  explicit Metrics(absl::Span<const std::string> services);

  // REQUIRES: the method belongs to one of the services.
  MethodMetrics& Method(absl::string_view service, absl::string_view method);

  // A session moved. `kind`: state, stage or status; `from` is empty for a creation.
  void Transition(absl::string_view kind, absl::string_view from, absl::string_view to);
  // A call was refused. UNSPECIFIED: for none of our reasons.
  void Refused(v1::ErrorReason reason);
  void RefusedCaller(const std::string& caller, v1::ErrorReason reason);
  // A call named a session in neither id format.
  void InvalidId() { invalid_ids_->Increment(); }
  // A lane committed a group; its sessions were cached, or loaded from the database.
  void Group(int commands, bool from_memory, absl::Duration duration);
  // A group in optimistic mode found that another daemon had changed its partitions.
  void GroupConflict() { group_conflicts_->Increment(); }
  // Commands that wait in the lanes' inboxes.
  void SetLaneInbox(std::size_t commands) { lane_inbox_->Set(static_cast<double>(commands)); }

  void ConnectionAccepted() { connections_accepted_->Increment(); }
  void ConnectionRefused(RefusedConnection why) {
    connections_refused_[static_cast<std::size_t>(why)]->Increment();
  }
  void ConnectionCut() { connections_cut_->Increment(); }
  // Connections that are open.
  void SetConnections(std::size_t connections) {
    connections_->Set(static_cast<double>(connections));
  }

  // Whether something of certificates and access cannot be loaded; when the certificate expires.
  void SetSecurity(bool trouble, absl::Time tls_not_after);

  // Watches that are open.
  void SetWatches(std::size_t watches) { watches_->Set(static_cast<double>(watches)); }
  // A change reached the watches of this daemon: from memory, or read from the database.
  void WatchLag(bool from_memory, absl::Duration lag) {
    watch_lag_[from_memory ? 0 : 1]->Observe(absl::ToDoubleSeconds(lag));
  }

  // Called before every scrape: for values that are pulled. REQUIRES: there was no scrape yet.
  void OnScrape(std::function<void()> update) { updates_.push_back(std::move(update)); }

  // The page of /metrics, in Prometheus' text format.
  std::string Text() const;

 private:
  using TransitionKey = std::tuple<absl::string_view, absl::string_view, absl::string_view>;

  void AddMethods(absl::Span<const std::string> services);

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& transitions_family_;
  prometheus::Family<prometheus::Counter>& caller_refusals_family_;
  absl::flat_hash_map<std::pair<std::string, std::string>, MethodMetrics> methods_;
  std::array<prometheus::Counter*, v1::ErrorReason_ARRAYSIZE> refusals_ = {};
  prometheus::Counter* invalid_ids_ = nullptr;
  // From memory, from the database.
  std::array<prometheus::Counter*, 2> groups_ = {};
  prometheus::Counter* group_conflicts_ = nullptr;
  prometheus::Histogram* group_commands_ = nullptr;
  prometheus::Histogram* group_seconds_ = nullptr;
  prometheus::Gauge* lane_inbox_ = nullptr;
  prometheus::Gauge* watches_ = nullptr;
  prometheus::Gauge* connections_ = nullptr;
  prometheus::Counter* connections_accepted_ = nullptr;
  prometheus::Counter* connections_cut_ = nullptr;
  // By RefusedConnection.
  std::array<prometheus::Counter*, 3> connections_refused_ = {};
  prometheus::Gauge* security_trouble_ = nullptr;
  prometheus::Gauge* tls_not_after_ = nullptr;
  std::array<prometheus::Histogram*, 2> watch_lag_ = {};
  std::vector<std::function<void()>> updates_;

  absl::Mutex mutex_;
  // The text of transitions_' keys: a deque never moves its elements.
  std::deque<std::string> names_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<TransitionKey, prometheus::Counter*> transitions_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<std::string> callers_ ABSL_GUARDED_BY(mutex_);
};

// The table of docs/metrics.md.
std::string MetricsReference();

}  // namespace sessiond
