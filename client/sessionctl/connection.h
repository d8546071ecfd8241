// How the daemon is reached: each setting from a flag, else the environment, else the context in
// use, else by default; and where it came from.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "sessiond/credentials.h"

namespace sessiond::ctl {

constexpr char kDefaultServer[] = "127.0.0.1:7377";

// What was typed, by the settings' names (kSettings).
struct TypedSettings {
  std::map<std::string, std::string, std::less<>> values;
  std::optional<std::string> context;  // --context

  bool Has(const std::string& name) const { return values.contains(name); }
};

struct Setting {
  std::string value;
  std::string origin;  // `--tls-ca`, `SESSIOND_CA_FILE`, `context prod`, `default`.
};

struct Connection {
  std::string server;  // As gRPC takes it.
  std::map<std::string, Setting, std::less<>> settings;
  // The context that was chosen, and how; empty if none was.
  std::string context, context_origin;
  // Another server was named, and the context counts for nothing: its certificates and its token
  // are meant for its own.
  bool context_passed_over = false;
  std::optional<TlsOptions> tls;

  // A setting's value; empty if it has none.
  std::string Get(const std::string& name) const;
  Credentials credentials() const;
};

// A refusal begins with the flag, variable or file that is wrong. Reads the file of contexts, and
// no other.
absl::StatusOr<Connection> ResolveConnection(const TypedSettings& typed);
// The same by what was typed alone, without environment and contexts.
absl::StatusOr<Connection> ResolveTyped(const TypedSettings& typed);

}  // namespace sessiond::ctl
