// The daemon's configuration. One table of options (config.cc) makes the command line flags, the
// SESSIOND_* variables, the keys of the TOML file, `--help`, `sessiond config` and
// docs/configuration.md:
//
//   --grpc-listen ADDRESS > SESSIOND_GRPC_LISTEN > grpc-listen = "ADDRESS" in the file > its
//   default
//
// In the file a table's name is the first part of the names in it: `[grpc]` `listen = …` says the
// same.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace sessiond {

// The effective values. The table has the meaning, the unit and the default of each.
struct Config {
  std::string grpc_listen;
  bool insecure = false;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::string tls_client_auth;
  std::string access_file;
  std::string http_listen;
  std::string http_allow_origins;
  int connections_max = 0;
  int connections_per_address_max = 0;
  absl::Duration connection_age_max;
  absl::Duration connection_idle_max;
  std::string data_dir;
  bool ephemeral = false;
  std::string db_url;
  absl::Duration db_wait;
  bool allow_unsafe_database = false;
  std::string pg_bin_dir;
  std::string pg_settings;
  std::string workflows_dir;
  int lanes = 0;
  int partitions = 0;
  int group_commands_max = 0;
  int kept_sessions_mib = 0;
  int query_connections = 0;
  absl::Duration lock_timeout;
  absl::Duration statement_timeout;
  absl::Duration retention_period;
  absl::Duration drain_delay;
  absl::Duration shutdown_grace;
  std::string log_level;
  std::string log_format;
};

// A row of the table.
struct Option {
  using Member =
      std::variant<std::string Config::*, bool Config::*, int Config::*, absl::Duration Config::*>;

  // As on the command line, without the dashes; also the key in the file.
  absl::string_view name;
  Member member;
  // As a user would type it.
  absl::string_view value_default;
  // What a value looks like, completing "expected …".
  absl::string_view expected;
  // Whether the value, already of the right type, is one of those expected.
  bool (*accepts)(const Config& config);
  absl::string_view help;
  // What follows when it is not given, completing "leave it out …"; empty: it may be given as an
  // empty text.
  absl::string_view absent = "";
  // Never printed; also read from a file: --NAME-file, SESSIOND_NAME_FILE, or
  // $CREDENTIALS_DIRECTORY/NAME.
  bool secret = false;
  // What it was called before, which still counts; empty: nothing else.
  absl::string_view old_name = "";
};

absl::Span<const Option> Options();

// SESSIOND_GRPC_LISTEN for grpc-listen.
std::string EnvironmentName(absl::string_view option);

// An option's effective value and where it came from, for people.
struct Setting {
  const Option* option;
  // Secrets: `(set)` or nothing.
  std::string shown;
  // For example `default`, `--lanes`, `SESSIOND_LANES`, `/etc/sessiond.toml:3`.
  std::string origin;
};

struct EffectiveConfig {
  Config config;
  std::vector<Setting> settings;
  // A sentence for each ignored setting that may be a mistake: a variable that begins with
  // SESSIOND_ and is not an option.
  std::vector<std::string> warnings;
};

// Where values come from. Names are those of the table, or `NAME-file` for a secret.
struct ConfigSources {
  // Given on the command line, by name.
  std::map<std::string, std::string, std::less<>> flags;
  // --config; empty: none, or SESSIOND_CONFIG.
  std::string file;
  // Nothing if not set. Injected so that tests need not change their own environment. A variable
  // that is set but empty counts as not set.
  std::function<std::optional<std::string>(const std::string& name)> environment;
  // The names of all variables.
  std::vector<std::string> environment_names;
};

// Merges the sources. INVALID_ARGUMENT: a value that is not of the expected kind, an unknown key in
// the file, one option given twice, an empty value where that is none. NOT_FOUND or
// FAILED_PRECONDITION: a named file is not there, or cannot be read. The message is one sentence
// that names option, origin and what is expected.
absl::StatusOr<EffectiveConfig> ResolveConfig(const ConfigSources& sources);

// Config::pg_settings by name. Nothing: they are invalid.
std::optional<std::vector<std::pair<std::string, std::string>>> ParsePgSettings(
    absl::string_view settings);

// The table of docs/configuration.md.
std::string ConfigReference();

// The candidate nearest to `word`, for "did you mean"; empty if none is near.
std::string Nearest(absl::string_view word, absl::Span<const std::string> candidates);

// The end of a sentence about a word that is none of the known ones: the nearest, or, if none is
// near, `otherwise`; empty: all of them.
std::string DidYouMean(absl::string_view word, absl::Span<const std::string> known,
                       absl::string_view otherwise = "");

}  // namespace sessiond
