#include "server/config/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/config/address.h"
#include "server/config/toml_text.h"
#include "server/files/small_file.h"
#include "state_machine/readable.h"

namespace sessiond {
namespace {

bool Anything(const Config&) { return true; }

template <std::string Config::*member>
bool IsGiven(const Config& config) {
  return !(config.*member).empty();
}

template <std::string Config::*member>
bool IsAddress(const Config& config) {
  const auto address = ParseAddress(config.*member);
  return address.ok() && !address->is_unix();
}

template <std::string Config::*member>
bool AreAddresses(const Config& config) {
  return ParseAddresses(config.*member).ok();
}

bool AreOrigins(const Config& config) {
  for (const absl::string_view origin :
       absl::StrSplit(config.http_allow_origins, ',', absl::SkipEmpty())) {
    if (origin != "*" && !IsOrigin(origin)) return false;
  }
  return true;
}

bool IsClientAuth(const Config& config) {
  const std::string& asked = config.tls_client_auth;
  return asked.empty() || asked == "none" || asked == "optional" || asked == "required";
}

template <std::string Config::*member>
bool IsAddressOrOff(const Config& config) {
  return config.*member == "off" || IsAddress<member>(config);
}

template <int Config::*member, int min, int max>
bool IsBetween(const Config& config) {
  return config.*member >= min && config.*member <= max;
}

template <absl::Duration Config::*member>
bool IsUpToAnHour(const Config& config) {
  return config.*member >= absl::ZeroDuration() && config.*member <= absl::Hours(1);
}

template <absl::Duration Config::*member>
bool IsPositiveUpToAnHour(const Config& config) {
  return config.*member >= absl::Milliseconds(1) && config.*member <= absl::Hours(1);
}

bool IsLogLevel(const Config& config) {
  const std::string& level = config.log_level;
  return level == "debug" || level == "info" || level == "warn" || level == "error";
}

bool IsLogFormat(const Config& config) {
  return config.log_format == "auto" || config.log_format == "text" || config.log_format == "json";
}

bool ArePgSettings(const Config& config) { return ParsePgSettings(config.pg_settings).has_value(); }

// Variables that begin like ours and are not options of the daemon: for its file, for sessionctl,
// and for tests, ours and those of clients.
constexpr absl::string_view kOtherVariables[] = {
    "SESSIOND_CONFIG",  "SESSIOND_SERVER",    "SESSIOND_CONTEXT",   "SESSIOND_TOKEN_FILE",
    "SESSIOND_CA_FILE", "SESSIOND_CERT_FILE", "SESSIOND_KEY_FILE",  "SESSIOND_BINARY",
    "SESSIOND_BUILD",   "SESSIOND_SOAK",      "SESSIOND_TEST_SEED", "SESSIOND_UPDATE_GOLDEN"};

// The prefix of the variables' names.
constexpr absl::string_view kPrefix = "SESSIOND_";

constexpr char kDataDirDefault[] = "";  // Depends on the environment: see DefaultDataDir.

// clang-format off
constexpr Option kOptions[] = {
    {"grpc-listen", &Config::grpc_listen, "127.0.0.1:7377", "HOST:PORT or unix:PATH, several with commas", AreAddresses<&Config::grpc_listen>,
     "Where gRPC listens; port 0 takes a free one. Off loopback it takes TLS and callers who are known (--tls-client-ca, "
     "--access-file), or --insecure. A unix socket is never encrypted; whoever may open it is `local`, and admin unless "
     "the access file says otherwise."},
    {"insecure", &Config::insecure, "false", "true or false", Anything,
     "Listen off loopback although calls are not encrypted, or callers are not known."},
    {"tls-cert", &Config::tls_cert, "", "a PEM file", Anything,
     "The certificate of gRPC and HTTP, with those of its issuers behind it. This and the files below are read again when they "
     "change, and on SIGHUP; a set that is not sound as a whole is left aside.",
     /*absent=*/"to serve without TLS"},
    {"tls-key", &Config::tls_key, "", "a PEM file", Anything,
     "The certificate's private key, which nobody else may read.",
     /*absent=*/"to serve without TLS"},
    {"tls-client-ca", &Config::tls_client_ca, "", "a PEM file", Anything,
     "Who issues clients' certificates. A client is known by the SPIFFE ID of its certificate, else by its DNS name.",
     /*absent=*/"to ask nobody for a certificate"},
    {"tls-client-auth", &Config::tls_client_auth, "", "none, optional or required", IsClientAuth,
     "Whether a client has to have a certificate; required by default, where there is a client CA. The HTTP port never requires "
     "one, for its probes.",
     /*absent=*/"for its default"},
    {"access-file", &Config::access_file, "", "a TOML file", Anything,
     "Who may call, and what: see docs/security.md. Without it, whoever may come is admin.",
     /*absent=*/"to let everybody be admin who may come"},
    {"http-listen", &Config::http_listen, "127.0.0.1:8377", "HOST:PORT, or off", IsAddressOrOff<&Config::http_listen>,
     "Where HTTP is served: every call in the Connect protocol (docs/http.md), /livez, /readyz, /metrics and /openapi.json. "
     "It was called admin-listen before, which still counts.", /*absent=*/"", /*secret=*/false, /*old_name=*/"admin-listen"},
    {"http-allow-origins", &Config::http_allow_origins, "", "origins such as https://app.example, with commas, or *", AreOrigins,
     "The web pages that may call over HTTP, by their origins; by default none. * is for all pages, and takes callers who are "
     "known."},
    {"connections-max", &Config::connections_max, "10000", "a number from 1 to 1000000", IsBetween<&Config::connections_max, 1, 1'000'000>,
     "The most connections that gRPC keeps open; further ones are closed at once. Fewer, where the limit of open files "
     "(LimitNOFILE) leaves fewer: 256 of those are for other things."},
    {"connections-per-address-max", &Config::connections_per_address_max, "1000", "a number from 1 to 1000000", IsBetween<&Config::connections_per_address_max, 1, 1'000'000>,
     "The most of them from one address: an IPv4 address, the /64 of an IPv6 address, or all unix sockets together. Callers "
     "behind one NAT or one proxy share theirs. At the HTTP port as many again."},
    {"connection-age-max", &Config::connection_age_max, "30m", "a duration of at most 1h, for example 30m; 0s for no maximum", IsUpToAnHour<&Config::connection_age_max>,
     "After so long, give or take a tenth, clients of gRPC are asked to open a new connection, so that a balancer can send them "
     "elsewhere. Calls and watches of the old one go on until they end."},
    {"connection-idle-max", &Config::connection_idle_max, "10m", "a duration of at most 1h, for example 10m; 0s for no maximum", IsUpToAnHour<&Config::connection_idle_max>,
     "A connection of gRPC without a call for so long is closed; a client opens one again for its next call."},
    {"data-dir", &Config::data_dir, kDataDirDefault, "a directory", IsGiven<&Config::data_dir>,
     "Where the embedded PostgreSQL keeps its data. By default $STATE_DIRECTORY, else $XDG_DATA_HOME/sessiond, else "
     "/var/lib/sessiond for root and ~/.local/share/sessiond for others."},
    {"ephemeral", &Config::ephemeral, "false", "true or false", Anything,
     "Keep the embedded PostgreSQL's data in a temporary directory and throw it away at the end."},
    {"db-url", &Config::db_url, "", "a PostgreSQL URL, for example postgresql://sessiond@db/sessiond", Anything,
     "The PostgreSQL to use, as a URL or in libpq's keywords; without it the daemon runs one of its own. Where it "
     "does not say so itself, these variables of libpq count: PGDATABASE, PGUSER, PGPASSWORD, PGPASSFILE, PGSERVICEFILE, "
     "PGSYSCONFDIR, PGCONNECT_TIMEOUT, PGCHANNELBINDING, PGREQUIREAUTH, PGREQUIREPEER, PGKRBSRVNAME, PGREQUIRESSL, PGSSL* and PGGSS*; "
     "also PGHOST, PGHOSTADDR and PGPORT, where it names neither host nor service. No other variable counts, and none at all "
     "for the daemon's own PostgreSQL. Settings that the daemon relies on (encoding, time zone, row security, …) are its own, "
     "whatever role, database or URL say. The server's effective_io_concurrency is the number of pages of an owner's "
     "sessions that a list fetches from the disk at a time: ours has 32, others by default 1 up to version 17.",
     /*absent=*/"for a PostgreSQL of the daemon's own", /*secret=*/true},
    {"db-wait", &Config::db_wait, "30s", "a duration of at most 1h, for example 30s", IsUpToAnHour<&Config::db_wait>,
     "How long serve waits, when it starts, for a database of --db-url that does not answer, is starting, or has no place for "
     "another connection."},
    {"allow-unsafe-database", &Config::allow_unsafe_database, "false", "true or false", Anything,
     "Serve although PostgreSQL could lose acknowledged changes in a crash: with fsync, full_page_writes or "
     "synchronous_commit off, or data_sync_retry on. The log and /readyz?verbose say so."},
    {"pg-bin-dir", &Config::pg_bin_dir, "", "a directory", Anything,
     "Where initdb and postgres are found for the embedded PostgreSQL; by default where distributions put them.",
     /*absent=*/"to look where distributions put them"},
    {"pg-settings", &Config::pg_settings, "", "NAME=VALUE, any number, with spaces between and none within; nothing about how it is reached", ArePgSettings,
     "Settings of the embedded PostgreSQL, for example `shared_buffers=6GB max_wal_size=8GB`. It has 128 MB of buffers: with "
     "more sessions in use than fit, give it a quarter of the machine's memory."},
    {"workflows-dir", &Config::workflows_dir, "", "a directory", Anything,
     "Workflow definitions, NAME.textproto each. At start, one that differs from all of its revisions in the database "
     "becomes the next revision. One with a built-in workflow's name takes its place.",
     /*absent=*/"to have the built-in workflows and those of the database"},
    {"lanes", &Config::lanes, "2", "a number from 1 to 64", IsBetween<&Config::lanes, 1, 64>,
     "Threads that write, each with a connection of its own. More than calls in flight / 64 makes groups smaller and "
     "writing slower."},
    {"partitions", &Config::partitions, "64", "a number from 1 to 1024", IsBetween<&Config::partitions, 1, 1024>,
     "Partitions of a database made by this daemon; an existing database keeps the number it was made with."},
    {"group-commands-max", &Config::group_commands_max, "256", "a number from 1 to 4096", IsBetween<&Config::group_commands_max, 1, 4096>,
     "The most commands that a lane commits together."},
    {"kept-sessions-mib", &Config::kept_sessions_mib, "48", "a number from 0 to 16384", IsBetween<&Config::kept_sessions_mib, 0, 16384>,
     "The size of the lanes' caches together, in MiB: sessions that were changed or read last need not be loaded again. With "
     "0, every change loads its session under a lock, and every read loads it: use that while rows are changed by hand."},
    {"query-connections", &Config::query_connections, "2", "a number from 1 to 64", IsBetween<&Config::query_connections, 1, 64>,
     "Connections for lists. In addition a daemon opens one for each lane, up to 5 for reads by id, up to 7 more, and another for "
     "each lane while somebody keeps rows locked."},
    {"lock-timeout", &Config::lock_timeout, "2s", "a duration from 1ms to 1h, for example 2s", IsPositiveUpToAnHour<&Config::lock_timeout>,
     "How long a change waits for rows that somebody else keeps locked, before it is refused with LOCK_TIMEOUT. Meanwhile "
     "changes of other sessions go on."},
    {"statement-timeout", &Config::statement_timeout, "5s", "a duration from 1ms to 1h, for example 5s", IsPositiveUpToAnHour<&Config::statement_timeout>,
     "How long one statement may run."},
    {"retention-period", &Config::retention_period, "10m", "a duration of at most 1h, for example 10m; 0s for never", IsUpToAnHour<&Config::retention_period>,
     "How often the daemon archives sessions whose purge_time has passed. 0s leaves that to PurgeSessions."},
    {"drain-delay", &Config::drain_delay, "0s", "a duration of at most 1h, for example 5s", IsUpToAnHour<&Config::drain_delay>,
     "How long, after SIGTERM, the daemon serves on as not ready, so that load balancers notice."},
    {"shutdown-grace", &Config::shutdown_grace, "10s", "a duration of at most 1h, for example 10s", IsUpToAnHour<&Config::shutdown_grace>,
     "How long, after that, calls in flight may take to finish."},
    {"log-level", &Config::log_level, "info", "debug, info, warn or error", IsLogLevel,
     "The least level that is written; the audit is always written."},
    {"log-format", &Config::log_format, "auto", "auto, text or json", IsLogFormat,
     "How log lines look; auto is text on a terminal and json elsewhere."},
};
// clang-format on

// What is quoted of a file, a variable or a flag may be anything.
absl::Status Wrong(absl::string_view sentence) {
  return absl::InvalidArgumentError(Readable(sentence));
}

// Sets an option's member from text. False: not of its type.
struct Parse {
  Config& config;
  absl::string_view text;

  bool operator()(std::string Config::*member) const {
    config.*member = std::string(text);
    return true;
  }
  bool operator()(bool Config::*member) const { return absl::SimpleAtob(text, &(config.*member)); }
  bool operator()(int Config::*member) const { return absl::SimpleAtoi(text, &(config.*member)); }
  bool operator()(absl::Duration Config::*member) const {
    return absl::ParseDuration(text, &(config.*member));
  }
};

std::string Show(const Option& option, const std::string& text) {
  if (option.secret) return text.empty() ? "" : "(set)";
  return text;
}

absl::Status Set(const Option& option, const std::string& text, const std::string& origin,
                 Config& config) {
  if (std::visit(Parse{config, text}, option.member) && option.accepts(config))
    return absl::OkStatus();
  return Wrong(absl::StrCat(option.name, " cannot be `", Show(option, text), "` (from ", origin,
                            "): expected ", option.expected));
}

const Option* FindOption(absl::string_view name) {
  const auto found =
      std::find_if(std::begin(kOptions), std::end(kOptions), [name](const Option& option) {
        return option.name == name || (!name.empty() && option.old_name == name);
      });
  return found == std::end(kOptions) ? nullptr : found;
}

std::string FileNameOf(const Option& option) { return absl::StrCat(option.name, "-file"); }

// Whether the name is an option's, or that of the file of a secret one.
bool IsKnown(absl::string_view name) {
  if (FindOption(name) != nullptr) return true;
  const Option* secret =
      absl::EndsWith(name, "-file") ? FindOption(name.substr(0, name.size() - 5)) : nullptr;
  return secret != nullptr && secret->secret;
}

std::vector<std::string> KnownNames() {
  std::vector<std::string> names;
  for (const Option& option : kOptions) {
    names.emplace_back(option.name);
    if (option.secret) names.push_back(FileNameOf(option));
  }
  return names;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, absl::string_view what) {
  // 16 MiB: no list of options is as long; /dev/zero would never end.
  absl::StatusOr<std::string> content = ReadWholeFile(path, std::size_t{16} << 20);
  if (content.ok()) return content;
  return absl::Status(
      content.status().code(),
      Readable(absl::StrCat("cannot read ", what, " ", path, ": ", content.status().message())));
}

// The content of a file with one value: without the byte-order mark that some editors write, and
// the line break at its end.
std::string OnlyValueOf(absl::string_view content) {
  return std::string(absl::StripAsciiWhitespace(WithoutByteOrderMark(content)));
}

struct Value {
  std::string text;
  std::string origin;
};
using Values = std::map<std::string, Value, std::less<>>;

// The file's values by name, prefixed with their tables' names.
absl::Status Flatten(const toml::table& table, const std::string& prefix, const std::string& path,
                     Values& values) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const std::string origin = absl::StrCat(path, ":", node.source().begin.line);
    if (const toml::table* inner = node.as_table()) {
      if (absl::Status status = Flatten(*inner, absl::StrCat(name, "-"), path, values);
          !status.ok())
        return status;
      continue;
    }
    if (!IsKnown(name)) {
      return Wrong(
          absl::StrCat(origin, ": there is no option `", name, "`",
                       DidYouMean(name, KnownNames(), "`sessiond config` lists them all")));
    }
    Value value{"", origin};
    if (const auto text = node.value_exact<std::string>()) {
      value.text = *text;
    } else if (const auto number = node.value_exact<int64_t>()) {
      value.text = absl::StrCat(*number);
    } else if (const auto flag = node.value_exact<bool>()) {
      value.text = *flag ? "true" : "false";
    } else {
      return Wrong(
          absl::StrCat(origin, ": ", name, " must be text, a whole number, or true or false"));
    }
    if (!values.emplace(name, std::move(value)).second) {
      return Wrong(absl::StrCat(origin, ": ", name, " is given twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTomlLines(absl::string_view text, const std::string& path) {
  constexpr std::size_t kLineBytesMax = 16 << 10;
  int number = 1;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.size() > kLineBytesMax) {
      return Wrong(absl::StrCat(path, ":", number, ": the line has ", line.size(),
                                " bytes, and may have ", kLineBytesMax));
    }
    ++number;
  }
  return absl::OkStatus();
}

namespace {

absl::StatusOr<Values> ReadConfigFile(const std::string& path) {
  auto content = ReadFile(path, "the configuration file");
  if (!content.ok()) return content.status();
  if (absl::Status lines = CheckTomlLines(*content, path); !lines.ok()) return lines;
  Values values;
  try {
    const toml::table table = toml::parse(*content, path);
    if (absl::Status status = Flatten(table, "", path, values); !status.ok()) return status;
  } catch (const toml::parse_error& error) {
    return Wrong(
        absl::StrCat(path, ":", error.source().begin.line, ": ", std::string(error.description())));
  }
  return values;
}

// A value that somebody gave, and that is empty, comes from a variable of a script that was not
// set: it is no choice of what the option's absence means.
absl::Status CheckGiven(const Option& option, const std::optional<Value>& value) {
  if (!value.has_value() || !value->text.empty() || option.absent.empty()) return absl::OkStatus();
  return Wrong(absl::StrCat(option.name, " is empty (from ", value->origin, "): give ",
                            option.expected, ", or leave it out ", option.absent));
}

// The value that one layer (flags, environment, file) gives an option, directly or, for a secret,
// by naming a file.
absl::StatusOr<std::optional<Value>> Ask(
    const Option& option, const std::function<std::optional<Value>(const std::string&)>& layer) {
  std::optional<Value> direct = layer(std::string(option.name));
  if (!option.old_name.empty()) {
    std::optional<Value> old = layer(std::string(option.old_name));
    if (direct.has_value() && old.has_value()) {
      return Wrong(absl::StrCat(option.name, " is given twice, by ", direct->origin, " and by ",
                                old->origin, ": give one"));
    }
    if (!direct.has_value()) direct = std::move(old);
  }
  if (absl::Status given = CheckGiven(option, direct); !given.ok()) return given;
  const std::optional<Value> named = option.secret ? layer(FileNameOf(option)) : std::nullopt;
  if (!named.has_value()) return direct;
  if (direct.has_value()) {
    return Wrong(absl::StrCat(option.name, " is given twice, by ", direct->origin, " and by ",
                              named->origin, ": give one"));
  }
  auto content = ReadFile(named->text, absl::StrCat("the file of ", named->origin, ","));
  if (!content.ok()) return content.status();
  Value value{OnlyValueOf(*content), absl::StrCat(named->origin, " ", named->text)};
  // An empty file is a secret that was not put in place yet, not a choice of none.
  if (value.text.empty()) {
    return Wrong(absl::StrCat("the file of ", named->origin, ", ", named->text,
                              ", is empty: put the ", option.name, " into it, or do not name it"));
  }
  return value;
}

// Kubernetes gives every pod the address of a service named sessiond in such variables.
bool IsOfKubernetes(absl::string_view name, absl::string_view value) {
  return absl::StartsWith(name, "SESSIOND_SERVICE_") ||
         (absl::StartsWith(name, "SESSIOND_PORT") &&
          (absl::StartsWith(value, "tcp://") || absl::StartsWith(value, "udp://") ||
           absl::StrContains(name, "_TCP") || absl::StrContains(name, "_UDP")));
}

// One sentence for each variable that looks like one of ours but is not.
std::vector<std::string> UnknownVariables(const ConfigSources& sources) {
  std::set<std::string> known(std::begin(kOtherVariables), std::end(kOtherVariables));
  std::vector<std::string> meant = {"CONFIG"};  // What may have been meant, without the prefix.
  for (const Option& option : kOptions) {
    if (!option.old_name.empty()) known.insert(EnvironmentName(option.old_name));
  }
  for (const std::string& name : KnownNames()) {
    known.insert(EnvironmentName(name));
    meant.push_back(EnvironmentName(name).substr(kPrefix.size()));
  }
  std::vector<std::string> sentences;
  for (const std::string& name : sources.environment_names) {
    if (!absl::StartsWith(name, kPrefix) || known.contains(name) ||
        IsOfKubernetes(name, sources.environment(name).value_or(""))) {
      continue;
    }
    const std::string near = Nearest(absl::string_view(name).substr(kPrefix.size()), meant);
    sentences.push_back(absl::StrCat("the variable ", name, " is none of sessiond's and is ignored",
                                     near.empty()
                                         ? "; `sessiond config` lists the options"
                                         : absl::StrCat("; did you mean ", kPrefix, near, "?")));
  }
  std::sort(sentences.begin(), sentences.end());
  return sentences;
}

// $CREDENTIALS_DIRECTORY/NAME, as systemd's LoadCredential leaves it. Where there is no such file,
// there is no such secret; one that is there and cannot be used is not overlooked.
absl::StatusOr<std::optional<Value>> Credential(const Option& option,
                                                const ConfigSources& sources) {
  const auto directory =
      option.secret ? sources.environment("CREDENTIALS_DIRECTORY") : std::nullopt;
  if (!directory.has_value()) return std::nullopt;
  const std::string path = absl::StrCat(*directory, "/", option.name);
  const auto content = ReadFile(path, "the credential");
  if (absl::IsNotFound(content.status())) return std::nullopt;
  if (!content.ok()) {
    return Wrong(absl::StrCat(content.status().message(),
                              "; let the daemon's user read it, or give ", option.name,
                              " another way"));
  }
  Value value{OnlyValueOf(*content), path};
  if (!value.text.empty()) return value;
  return Wrong(absl::StrCat("the credential ", path, " is empty: put the ", option.name,
                            " into it, or take it away"));
}

std::string DefaultDataDir(const ConfigSources& sources) {
  if (const auto state = sources.environment("STATE_DIRECTORY"); state.has_value()) {
    return state->substr(0, state->find(':'));  // systemd joins several with colons.
  }
  // By its specification a relative one does not count: the data would be where it is started from.
  if (const auto data = sources.environment("XDG_DATA_HOME");
      absl::StartsWith(data.value_or(""), "/")) {
    return absl::StrCat(*data, "/sessiond");
  }
  const auto home = sources.environment("HOME");
  if (geteuid() == 0 || !home.has_value()) return "/var/lib/sessiond";
  return absl::StrCat(*home, "/.local/share/sessiond");
}

Value DefaultOf(const Option& option, const ConfigSources& sources) {
  if (option.name == "data-dir") return {DefaultDataDir(sources), "default"};
  return {std::string(option.value_default), "default"};
}

// The edit distance of Levenshtein.
std::size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::vector<std::pair<std::string, std::string>>> ParsePgSettings(
    absl::string_view settings) {
  // The daemon needs these to find it, and to keep others out.
  constexpr absl::string_view kOurs[] = {"listen_addresses", "unix_socket_directories",
                                         "unix_socket_permissions", "port", "cluster_name"};
  std::vector<std::pair<std::string, std::string>> parsed;
  for (const absl::string_view word :
       absl::StrSplit(settings, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    const auto& [name, value] = parsed.emplace_back(absl::StrSplit(word, absl::MaxSplits('=', 1)));
    if (name.empty() || value.empty() ||
        std::find(std::begin(kOurs), std::end(kOurs), absl::AsciiStrToLower(name)) !=
            std::end(kOurs)) {
      return std::nullopt;
    }
  }
  return parsed;
}

absl::Span<const Option> Options() { return kOptions; }

std::string EnvironmentName(absl::string_view option) {
  return absl::StrCat(kPrefix, absl::AsciiStrToUpper(absl::StrReplaceAll(option, {{"-", "_"}})));
}

std::string Nearest(absl::string_view word, absl::Span<const std::string> candidates) {
  std::string nearest;
  std::size_t distance_max =
      word.size() / 3 + 1;  // One slip in three letters is a slip, more is another word.
  for (const std::string& candidate : candidates) {
    const std::size_t distance = Distance(word, candidate);
    if (distance > distance_max || (distance == distance_max && !nearest.empty())) continue;
    nearest = candidate;
    distance_max = distance;
  }
  return nearest;
}

std::string DidYouMean(absl::string_view word, absl::Span<const std::string> known,
                       absl::string_view otherwise) {
  const std::string near = Nearest(word, known);
  if (!near.empty()) return absl::StrCat("; did you mean `", near, "`?");
  if (!otherwise.empty()) return absl::StrCat("; ", otherwise);
  return absl::StrCat("; there are: ", absl::StrJoin(known, ", "));
}

absl::StatusOr<EffectiveConfig> ResolveConfig(const ConfigSources& given) {
  // A variable that is set but empty counts as not set; the rest of another system's line break is
  // not part of its value.
  ConfigSources sources = given;
  sources.environment = [&given](const std::string& name) -> std::optional<std::string> {
    auto value = given.environment(name);
    if (value.has_value() && absl::EndsWith(*value, "\r")) value->pop_back();
    return value.has_value() && value->empty() ? std::nullopt : value;
  };
  Values file;
  const std::string path =
      sources.file.empty() ? sources.environment("SESSIOND_CONFIG").value_or("") : sources.file;
  if (!path.empty()) {
    auto read = ReadConfigFile(path);
    if (!read.ok()) return read.status();
    file = *std::move(read);
  }

  using Layer = std::function<std::optional<Value>(const std::string&)>;
  const Layer flag_layer = [&](const std::string& name) -> std::optional<Value> {
    const auto found = sources.flags.find(name);
    if (found == sources.flags.end()) return std::nullopt;
    return Value{found->second, absl::StrCat("--", name)};
  };
  const Layer environment_layer = [&](const std::string& name) -> std::optional<Value> {
    const auto text = sources.environment(EnvironmentName(name));
    if (!text.has_value()) return std::nullopt;
    return Value{*text, EnvironmentName(name)};
  };
  const Layer file_layer = [&](const std::string& name) -> std::optional<Value> {
    const auto found = file.find(name);
    if (found == file.end()) return std::nullopt;
    return found->second;
  };

  EffectiveConfig effective{.warnings = UnknownVariables(sources)};
  for (const Option& option : kOptions) {
    std::optional<Value> value;
    for (const Layer& layer : {flag_layer, environment_layer, file_layer}) {
      auto answer = Ask(option, layer);
      if (!answer.ok()) return answer.status();
      if (!value.has_value()) value = *std::move(answer);
    }
    if (!value.has_value()) {
      auto credential = Credential(option, sources);
      if (!credential.ok()) return credential.status();
      value = *std::move(credential);
    }
    if (!value.has_value()) value = DefaultOf(option, sources);
    if (absl::Status status = Set(option, value->text, value->origin, effective.config);
        !status.ok())
      return status;
    effective.settings.push_back({&option, Show(option, value->text), value->origin});
  }
  return effective;
}

std::string ConfigReference() {
  std::string table =
      "| flag and key | variable | default | expected | what it does |\n|---|---|---|---|---|\n";
  for (const Option& option : kOptions) {
    const std::string value_default =
        option.value_default.empty() ? "" : absl::StrCat("`", option.value_default, "`");
    absl::StrAppend(&table, "| `--", option.name, "` | `", EnvironmentName(option.name), "` | ",
                    value_default, " | ", option.expected, " | ", option.help,
                    option.secret ? " Secret." : "", " |\n");
  }
  return table;
}

}  // namespace sessiond
