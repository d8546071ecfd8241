// Contexts: by a name, how a daemon is reached, and with which files. They are kept in
// sessiond/contexts.toml of the user's configuration:
//
//   current = "prod"
//
//   [contexts.prod]
//   server = "sessiond.example.com:7377"
//   tls-ca = "/etc/sessiond/ca.pem"
//   token-file = "/home/ada/.config/sessiond/token"
//
// Tokens are not in it, only the paths of their files. All the same nobody else may read it, nor
// write to it: who does could send a token elsewhere.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond::ctl {

// What a connection is made of. Each is a flag, `--tls-ca`, and a key of a context; those with a
// variable can be set in the environment.
struct SettingKind {
  absl::string_view name;
  const char* variable;    // "" if there is none.
  const char* value_name;  // "" for a flag without a value.
  bool path;
  const char* description;
};
// clang-format off
inline constexpr SettingKind kSettings[] = {
    {"server",          "SESSIOND_SERVER",     "HOST:PORT|unix:PATH", false, "Where the daemon listens; https://HOST:PORT for TLS (default: $SESSIOND_SERVER, else 127.0.0.1:7377)"},
    {"tls",             "",                    "",                    false, "Use TLS, and trust the authorities that this system trusts"},
    {"tls-ca",          "SESSIOND_CA_FILE",     "FILE",                true,  "Use TLS, and trust the authorities of this PEM file (default: $SESSIOND_CA_FILE)"},
    {"tls-cert",        "SESSIOND_CERT_FILE",   "FILE",                true,  "The certificate to show to the daemon (default: $SESSIOND_CERT_FILE)"},
    {"tls-key",         "SESSIOND_KEY_FILE",    "FILE",                true,  "Its key (default: $SESSIOND_KEY_FILE)"},
    {"tls-server-name", "",                    "NAME",                false, "The name that the daemon's certificate must have (default: the host of --server)"},
    {"token-file",      "SESSIOND_TOKEN_FILE", "FILE",                true,  "The file with the token to send (default: $SESSIOND_TOKEN_FILE)"},
};
// clang-format on

// By the settings' names. `tls` is "true" or "false".
using ContextSettings = std::map<std::string, std::string, std::less<>>;

struct Contexts {
  std::string current;  // Empty: none is in use.
  std::map<std::string, ContextSettings, std::less<>> by_name;

  // NOT_FOUND, with the nearest name, if there is none of this name.
  absl::StatusOr<const ContextSettings*> Find(const std::string& name) const;
  std::vector<std::string> Names() const;
};

// Where they are kept. FAILED_PRECONDITION: there is no place, neither XDG_CONFIG_HOME nor HOME.
absl::StatusOr<std::string> ContextsPath();

// None if there is no file. INVALID_ARGUMENT: it holds what no context has; the sentence begins
// with file and line. PERMISSION_DENIED: others may read it or write to it.
absl::StatusOr<Contexts> ReadContexts();

// Reads them, lets `change` change them, and writes them, unless it fails: whole or not at all,
// readable by nobody else, and without losing what another sessionctl does at the same time.
absl::Status ChangeContexts(absl::FunctionRef<absl::Status(Contexts&)> change);

// Refuses what is no name for a context: up to 63 letters, digits, `.`, `_` and `-`, the first of
// which is a letter or a digit.
absl::Status CheckContextName(absl::string_view name);

}  // namespace sessiond::ctl
