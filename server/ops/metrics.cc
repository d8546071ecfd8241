#include "server/ops/metrics.h"

#include <google/protobuf/descriptor.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/ops/log.h"

namespace sessiond {
namespace {

struct Description {
  absl::string_view name;
  absl::string_view type;
  absl::string_view labels;
  absl::string_view help;
};

// clang-format off
constexpr Description kDescriptions[] = {
    {"grpc_server_started_total",        "counter",   "grpc_type, grpc_service, grpc_method",            "RPCs that began."},
    {"grpc_server_handled_total",        "counter",   "grpc_type, grpc_service, grpc_method, grpc_code", "RPCs that ended, by gRPC code."},
    {"grpc_server_handling_seconds",     "histogram", "grpc_type, grpc_service, grpc_method",            "How long RPCs took, in seconds."},
    {"sessiond_transitions_total",       "counter",   "kind, from, to",                                  "Accepted moves of sessions: kind is state, stage or status; from is empty for creations."},
    {"sessiond_refusals_total",          "counter",   "reason",                                          "Refused calls, by published reason."},
    {"sessiond_caller_refusals_total",   "counter",   "caller, reason",                                  "Refused calls, by who called: a principal of the access file, or the issuer of its token; beyond 1,000 of them, others."},
    {"sessiond_invalid_ids_total",       "counter",   "",                                                "Calls that named a session in neither id format."},
    {"sessiond_groups_total",            "counter",   "source",                                          "Groups of commands that were committed: source is memory where all of their sessions were cached, database where some had to be loaded."},
    {"sessiond_group_conflicts_total",   "counter",   "",                                                "Groups that ran again in locked mode, because another daemon or an earlier request had been there."},
    {"sessiond_group_commands",          "histogram", "",                                                "Commands in a committed group."},
    {"sessiond_group_duration_seconds",  "histogram", "",                                                "From taking a group to knowing that it is committed, in seconds."},
    {"sessiond_lane_inbox",              "gauge",     "",                                                "Commands that wait in the lanes' inboxes."},
    {"sessiond_watches",                 "gauge",     "",                                                "Open WatchSessions streams."},
    {"sessiond_watch_lag_seconds",       "histogram", "source",                                          "From an event's own time to its reaching this daemon's watches, in seconds, by the clocks of the database and the daemon: source is memory or database."},
    {"sessiond_connections",             "gauge",     "",                                                "Open connections of the gRPC port."},
    {"sessiond_connections_accepted_total", "counter", "",                                               "Connections that the gRPC port let in."},
    {"sessiond_connections_refused_total", "counter", "reason",                                          "Connections that were closed at once: reason is total (--connections-max), address (--connections-per-address-max, at the HTTP port, too) or descriptors (no file descriptor was left)."},
    {"sessiond_connections_cut_total",   "counter",   "",                                                "Connections that were closed because their peers made the daemon hold too much memory: those that had sent most."},
    {"sessiond_log_lines_waiting",       "gauge",     "",                                                "Log lines that wait for the reader of stderr."},
    {"sessiond_log_lines_dropped_total", "counter",   "",                                                "Log lines that were dropped, because nobody read them in time."},
    {"sessiond_tls_not_after_seconds",   "gauge",     "",                                                "When the daemon's certificate expires, in seconds since 1970; 0 without TLS."},
    {"sessiond_security_trouble",        "gauge",     "",                                                "1 while certificates, access file or keys of issuers cannot be loaded, and what was loaded last serves on; else 0."},
    {"sessiond_build_info",              "gauge",     "version",                                         "Always 1; the label says what runs."},
    {"process_cpu_seconds_total",        "counter",   "",                                                "CPU time of the daemon itself, user and system, in seconds."},
    {"process_resident_memory_bytes",    "gauge",     "",                                                "Resident memory of the daemon itself."},
    {"process_virtual_memory_bytes",     "gauge",     "",                                                "Virtual memory of the daemon itself."},
    {"process_open_fds",                 "gauge",     "",                                                "Open file descriptors."},
    {"process_max_fds",                  "gauge",     "",                                                "The most file descriptors that may be open."},
    {"process_threads",                  "gauge",     "",                                                "Threads of the daemon itself."},
    {"process_start_time_seconds",       "gauge",     "",                                                "When the daemon started, in seconds since 1970."},
};
// clang-format on

// In go-grpc-middleware's spelling: dashboards select by these.
constexpr absl::string_view kCodes[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};
static_assert(std::size(kCodes) == 17);

// The defaults of go-grpc-middleware, and three finer ones: most of our calls take less than 5 ms.
const prometheus::Histogram::BucketBoundaries kSeconds = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
const prometheus::Histogram::BucketBoundaries kCommands = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

// Series for more callers than this help nobody.
constexpr std::size_t kCallersMax = 1000;

std::string HelpOf(absl::string_view name) {
  const auto found = std::find_if(std::begin(kDescriptions), std::end(kDescriptions),
                                  [name](const Description& each) { return each.name == name; });
  if (found == std::end(kDescriptions))
    std::abort();  // The metric is missing from docs/metrics.md.
  return std::string(found->help);
}

prometheus::Family<prometheus::Counter>& Counters(const char* name,
                                                  prometheus::Registry& registry) {
  return prometheus::BuildCounter().Name(name).Help(HelpOf(name)).Register(registry);
}

prometheus::Family<prometheus::Gauge>& Gauges(const char* name, prometheus::Registry& registry) {
  return prometheus::BuildGauge().Name(name).Help(HelpOf(name)).Register(registry);
}

prometheus::Family<prometheus::Histogram>& Histograms(const char* name,
                                                      prometheus::Registry& registry) {
  return prometheus::BuildHistogram().Name(name).Help(HelpOf(name)).Register(registry);
}

std::string TypeOf(const google::protobuf::MethodDescriptor& method) {
  if (method.client_streaming()) return method.server_streaming() ? "bidi_stream" : "client_stream";
  return method.server_streaming() ? "server_stream" : "unary";
}

// ----------------------------------------------------------------------------------- the process

prometheus::MetricFamily Family(const char* name, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, HelpOf(name), type, {metric}};
}

void AppendLog(std::vector<prometheus::MetricFamily>& families) {
  families.push_back(Family("sessiond_log_lines_waiting", prometheus::MetricType::Gauge,
                            static_cast<double>(LogLinesWaiting())));
  families.push_back(Family("sessiond_log_lines_dropped_total", prometheus::MetricType::Counter,
                            static_cast<double>(LogLinesDropped())));
}

double BootTimeSeconds() {
  std::ifstream stat("/proc/stat");
  for (std::string line; std::getline(stat, line);) {
    double seconds = 0;
    if (line.rfind("btime ", 0) == 0 && absl::SimpleAtod(line.substr(6), &seconds)) return seconds;
  }
  return 0;
}

// The process's own metrics, with the names that every Prometheus client library uses (see
// proc(5)).
void AppendProcess(std::vector<prometheus::MetricFamily>& families) {
  std::string stat;
  std::getline(std::ifstream("/proc/self/stat"), stat);
  // Field 3 starts after the name, which may contain anything.
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(stat.rfind(')') + 2), ' ');
  const auto field = [&fields](std::size_t number) {
    double value = 0;
    return number - 3 < fields.size() && absl::SimpleAtod(fields[number - 3], &value) ? value : 0;
  };
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  std::error_code unreadable;  // When no descriptor is left; the result is 0 then.
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", unreadable);
  rlimit descriptors_max = {};
  getrlimit(RLIMIT_NOFILE, &descriptors_max);

  using Type = prometheus::MetricType;
  families.push_back(
      Family("process_cpu_seconds_total", Type::Counter, (field(14) + field(15)) / ticks));
  families.push_back(Family("process_resident_memory_bytes", Type::Gauge,
                            field(24) * static_cast<double>(getpagesize())));
  families.push_back(Family("process_virtual_memory_bytes", Type::Gauge, field(23)));
  families.push_back(
      Family("process_open_fds", Type::Gauge,
             static_cast<double>(std::distance(begin(descriptors), end(descriptors)))));
  families.push_back(
      Family("process_max_fds", Type::Gauge, static_cast<double>(descriptors_max.rlim_cur)));
  families.push_back(Family("process_threads", Type::Gauge, field(20)));
  families.push_back(
      Family("process_start_time_seconds", Type::Gauge, BootTimeSeconds() + field(22) / ticks));
}

}  // namespace

Metrics::Metrics(absl::Span<const std::string> services)
    : transitions_family_(Counters("sessiond_transitions_total", registry_)),
      caller_refusals_family_(Counters("sessiond_caller_refusals_total", registry_)) {
  AddMethods(services);
  auto& refusals = Counters("sessiond_refusals_total", registry_);
  for (int reason = 0; reason < v1::ErrorReason_ARRAYSIZE; ++reason) {
    if (v1::ErrorReason_IsValid(reason)) {
      refusals_[reason] = &refusals.Add({{"reason", v1::ErrorReason_Name(reason)}});
    }
  }
  invalid_ids_ = &Counters("sessiond_invalid_ids_total", registry_).Add({});
  group_conflicts_ = &Counters("sessiond_group_conflicts_total", registry_).Add({});
  auto& groups = Counters("sessiond_groups_total", registry_);
  groups_ = {&groups.Add({{"source", "memory"}}), &groups.Add({{"source", "database"}})};
  group_commands_ = &Histograms("sessiond_group_commands", registry_).Add({}, kCommands);
  group_seconds_ = &Histograms("sessiond_group_duration_seconds", registry_).Add({}, kSeconds);
  lane_inbox_ = &Gauges("sessiond_lane_inbox", registry_).Add({});
  watches_ = &Gauges("sessiond_watches", registry_).Add({});
  connections_ = &Gauges("sessiond_connections", registry_).Add({});
  connections_accepted_ = &Counters("sessiond_connections_accepted_total", registry_).Add({});
  auto& refused = Counters("sessiond_connections_refused_total", registry_);
  connections_refused_ = {&refused.Add({{"reason", "total"}}),
                          &refused.Add({{"reason", "address"}}),
                          &refused.Add({{"reason", "descriptors"}})};
  connections_cut_ = &Counters("sessiond_connections_cut_total", registry_).Add({});
  security_trouble_ = &Gauges("sessiond_security_trouble", registry_).Add({});
  tls_not_after_ = &Gauges("sessiond_tls_not_after_seconds", registry_).Add({});
  auto& watch_lag = Histograms("sessiond_watch_lag_seconds", registry_);
  watch_lag_ = {&watch_lag.Add({{"source", "memory"}}, kSeconds),
                &watch_lag.Add({{"source", "database"}}, kSeconds)};
  Gauges("sessiond_build_info", registry_).Add({{"version", SESSIOND_VERSION}}).Set(1);
}

void Metrics::AddMethods(absl::Span<const std::string> services) {
  auto& started = Counters("grpc_server_started_total", registry_);
  auto& handled = Counters("grpc_server_handled_total", registry_);
  auto& seconds = Histograms("grpc_server_handling_seconds", registry_);
  for (const std::string& name : services) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; i < service->method_count(); ++i) {
      const google::protobuf::MethodDescriptor& method = *service->method(i);
      const prometheus::Labels labels = {
          {"grpc_type", TypeOf(method)}, {"grpc_service", name}, {"grpc_method", method.name()}};
      MethodMetrics& metrics = methods_[{name, method.name()}];
      metrics.started_ = &started.Add(labels);
      metrics.seconds_ = &seconds.Add(labels, kSeconds);
      for (std::size_t code = 0; code < std::size(kCodes); ++code) {
        prometheus::Labels with_code = labels;
        with_code["grpc_code"] = std::string(kCodes[code]);
        metrics.handled_[code] = &handled.Add(with_code);
      }
    }
  }
}

MethodMetrics& Metrics::Method(absl::string_view service, absl::string_view method) {
  return methods_.at({std::string(service), std::string(method)});
}

void Metrics::Transition(absl::string_view kind, absl::string_view from, absl::string_view to) {
  absl::MutexLock lock(&mutex_);
  const auto found = transitions_.find(TransitionKey(kind, from, to));
  if (found != transitions_.end()) return found->second->Increment();
  const auto keep = [this](absl::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                        mutex_) -> absl::string_view { return names_.emplace_back(text); };
  prometheus::Counter& counter = transitions_family_.Add(
      {{"kind", std::string(kind)}, {"from", std::string(from)}, {"to", std::string(to)}});
  transitions_.emplace(TransitionKey(keep(kind), keep(from), keep(to)), &counter);
  counter.Increment();
}

void Metrics::Refused(v1::ErrorReason reason) {
  refusals_[v1::ErrorReason_IsValid(reason) ? reason : v1::ERROR_REASON_UNSPECIFIED]->Increment();
}

void Metrics::RefusedCaller(const std::string& caller, v1::ErrorReason reason) {
  const absl::MutexLock lock(&mutex_);
  if (callers_.size() < kCallersMax) callers_.insert(caller);
  caller_refusals_family_
      .Add({{"caller", callers_.contains(caller) ? caller : "others"},
            {"reason", v1::ErrorReason_Name(reason)}})
      .Increment();
}

void Metrics::SetSecurity(bool trouble, absl::Time tls_not_after) {
  security_trouble_->Set(trouble ? 1 : 0);
  if (tls_not_after != absl::InfiniteFuture())
    tls_not_after_->Set(static_cast<double>(absl::ToUnixSeconds(tls_not_after)));
}

void Metrics::Group(int commands, bool from_memory, absl::Duration duration) {
  groups_[from_memory ? 0 : 1]->Increment();
  group_commands_->Observe(commands);
  group_seconds_->Observe(absl::ToDoubleSeconds(duration));
}

std::string Metrics::Text() const {
  for (const auto& update : updates_) update();
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  AppendLog(families);
  AppendProcess(families);
  return prometheus::TextSerializer().Serialize(families);
}

std::string MetricsReference() {
  std::string table = "| metric | type | labels | what it says |\n|---|---|---|---|\n";
  for (const Description& each : kDescriptions) {
    absl::StrAppend(&table, "| `", each.name, "` | ", each.type, " | ", each.labels, " | ",
                    each.help, " |\n");
  }
  return table;
}

}  // namespace sessiond
