#include "client/sessionctl/connection.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cpp/credential_files.h"
#include "client/cpp/server_address.h"
#include "client/sessionctl/contexts.h"

namespace sessiond::ctl {
namespace {

// An empty variable counts as unset.
std::optional<std::string> Variable(const char* name) {
  const char* value = *name == '\0' ? nullptr : std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

absl::Status Refused(absl::string_view origin, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(origin, ": ", what));
}

void TakeTyped(const TypedSettings& typed, Connection& connection) {
  for (const auto& [name, value] : typed.values) {
    connection.settings[name] = {value, absl::StrCat("--", name)};
  }
}

void TakeEnvironment(Connection& connection) {
  for (const SettingKind& kind : kSettings) {
    if (const auto variable = Variable(kind.variable)) {
      connection.settings.try_emplace(std::string(kind.name), Setting{*variable, kind.variable});
    }
  }
}

// Fills in what the context says, if there is one and it is for this server.
absl::Status TakeContext(const TypedSettings& typed, Connection& connection) {
  const auto contexts = ReadContexts();
  if (!contexts.ok()) return contexts.status();
  connection.context = contexts->current;
  connection.context_origin = "in use";
  if (const auto variable = Variable("SESSIOND_CONTEXT")) {
    connection.context = *variable;
    connection.context_origin = "SESSIOND_CONTEXT";
  }
  if (typed.context.has_value()) {
    connection.context = *typed.context;
    connection.context_origin = "--context";
  } else if (connection.context.empty()) {
    return absl::OkStatus();
  }
  const auto context = contexts->Find(connection.context);
  if (!context.ok()) {
    const auto path = ContextsPath();
    return Refused(
        connection.context_origin == "in use" && path.ok() ? *path : connection.context_origin,
        context.status().message());
  }
  if (const auto server = connection.settings.find("server");
      server != connection.settings.end() && !typed.context.has_value()) {
    const auto named = ParseServerAddress(server->second.value);
    const auto own = ParseServerAddress((*context)->at("server"));
    if (named.ok() && own.ok() && named->target != own->target) {
      connection.context_passed_over = true;
      return absl::OkStatus();
    }
  }
  for (const auto& [name, value] : **context) {
    connection.settings.try_emplace(name,
                                    Setting{value, absl::StrCat("context ", connection.context)});
  }
  return absl::OkStatus();
}

absl::Status CheckPaths(const Connection& connection) {
  for (const SettingKind& kind : kSettings) {
    const auto setting = connection.settings.find(kind.name);
    if (setting == connection.settings.end() || kind.name == "server") continue;
    if (setting->second.value.empty()) {
      return Refused(setting->second.origin,
                     absl::StrCat("is empty; name a ", kind.path ? "file" : "host"));
    }
  }
  if (LooksLikeToken(connection.Get("token-file"))) {
    return Refused(connection.settings.at("token-file").origin,
                   "looks like a token, which others on this machine can see on a command line; "
                   "write it into a file that only you can read, and name that (./NAME, if that is "
                   "its name)");
  }
  return absl::OkStatus();
}

// Which settings ask for TLS, and whether the address allows it.
absl::Status ChooseTls(std::optional<bool> scheme, Connection& connection) {
  constexpr const char* kOfTls[] = {"tls", "tls-ca", "tls-cert", "tls-key", "tls-server-name"};
  bool wanted = scheme.value_or(false);
  for (const char* name : kOfTls) {
    const auto setting = connection.settings.find(name);
    if (setting == connection.settings.end() || setting->second.value == "false") continue;
    if (scheme == false) {
      if (setting->second.origin == absl::StrCat("--", name)) {
        return Refused(
            setting->second.origin,
            absl::StrCat("asks for TLS, and http:// for none; write https://", connection.server));
      }
      connection.settings.erase(setting);  // http:// was said, and is nearer.
      continue;
    }
    wanted = true;
  }
  if (!wanted) return absl::OkStatus();
  TlsOptions tls = {.ca_file = connection.Get("tls-ca"),
                    .cert_file = connection.Get("tls-cert"),
                    .key_file = connection.Get("tls-key"),
                    .server_name = connection.Get("tls-server-name")};
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    const bool has_key = tls.cert_file.empty();
    return Refused(connection.settings.at(has_key ? "tls-key" : "tls-cert").origin,
                   has_key ? "a key needs its certificate: --tls-cert FILE"
                           : "a certificate needs its key: --tls-key FILE");
  }
  connection.tls = std::move(tls);
  return absl::OkStatus();
}

// From the settings to what is made of them.
absl::StatusOr<Connection> Finish(Connection connection) {
  connection.settings.try_emplace("server", Setting{kDefaultServer, "default"});
  const Setting& server = connection.settings.at("server");
  const auto address = ParseServerAddress(server.value);
  if (!address.ok()) return Refused(server.origin, address.status().message());
  connection.server = address->target;
  if (absl::Status status = CheckPaths(connection); !status.ok()) return status;
  if (absl::Status status = ChooseTls(address->tls, connection); !status.ok()) return status;
  return connection;
}

}  // namespace

std::string Connection::Get(const std::string& name) const {
  const auto setting = settings.find(name);
  return setting == settings.end() ? "" : setting->second.value;
}

Credentials Connection::credentials() const {
  return {.tls = tls, .token = "", .token_file = Get("token-file"), .get_token = nullptr};
}

absl::StatusOr<Connection> ResolveConnection(const TypedSettings& typed) {
  Connection connection;
  TakeTyped(typed, connection);
  TakeEnvironment(connection);
  if (absl::Status status = TakeContext(typed, connection); !status.ok()) return status;
  return Finish(std::move(connection));
}

absl::StatusOr<Connection> ResolveTyped(const TypedSettings& typed) {
  Connection connection;
  TakeTyped(typed, connection);
  return Finish(std::move(connection));
}

}  // namespace sessiond::ctl
