#include "server/doctor.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "db/postgres/embedded_postgres.h"
#include "server/database.h"
#include "server/option_checks.h"
#include "server/reloaded_security.h"
#include "server/rpc/services.h"

namespace sessiond {
namespace {

// Checks that no other daemon uses the directory, that PostgreSQL could use what is there, and that
// what is not can be made: the first existing one of it and those above it decides that.
absl::Status CheckDataDir(const Config& config, db::PostgresSupervisor& supervisor,
                          const std::stop_token& stop) {
  const std::string& directory = config.data_dir;
  if (const std::string pid = db::DataDirUser(directory); !pid.empty()) {
    return absl::AlreadyExistsError(absl::StrCat("the data directory ", directory,
                                                 " is in use by another sessiond (pid ", pid,
                                                 "): stop it, or choose another with --data-dir"));
  }
  absl::Status usable =
      db::EmbeddedPostgres::Check(EmbeddedOptions(config, /*ephemeral=*/false, stop), supervisor);
  if (!usable.ok()) return usable;
  std::error_code unused;
  std::filesystem::path path = std::filesystem::absolute(directory, unused);
  while (!std::filesystem::exists(path, unused) && path.has_relative_path())
    path = path.parent_path();
  if (::access(path.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the data directory ", directory, " cannot be written to (", path.string(), ": ",
                   std::strerror(errno), "): choose another with --data-dir"));
}

Finding DurabilityFinding(const std::string& dsn, const Config& config) {
  return {"the database keeps what it acknowledged", CheckDurable(dsn),
          /*is_advice=*/config.allow_unsafe_database};
}

Finding ConnectionsFinding(const std::string& dsn, const Config& config) {
  return {"the database has connections enough", CheckCapacity(dsn, config)};
}

}  // namespace

std::vector<Finding> Examine(const Config& config, db::PostgresSupervisor* supervisor,
                             const std::stop_token& stop) {
  std::vector<Finding> findings;
  findings.push_back({"options fit together", CheckOptions(config)});
  for (const ListeningPlace& place : ListeningPlaces(config)) {
    findings.push_back({absl::StrCat(place.option == "grpc-listen" ? "gRPC" : "HTTP",
                                     " can listen on ", ToString(place.address)),
                        CheckPlace(place, config)});
  }
  if (!config.tls_cert.empty() || !config.access_file.empty()) {
    findings.push_back({"certificates and the access file are sound",
                        ReloadedSecurity::Load(config, rpc::ServiceNames()).status()});
  }
  if (!config.db_url.empty()) {
    findings.push_back({"the database can be reached", CheckReachable(config.db_url)});
    if (!findings.back().status.ok()) return findings;  // Without it nothing else can be checked.
    findings.push_back({"the database lets us do what we must", CheckRights(config.db_url)});
    // Without the rights to look at it, the schema cannot be checked.
    if (findings.back().status.ok()) {
      findings.push_back({"the database has the schema", CheckSchema(config)});
      if (findings.back().status.ok()) {
        findings.push_back({"the audit is as it was written", CheckIntegrity(config.db_url)});
        findings.push_back({"the database accepts changes", CheckAcceptsChanges(config.db_url)});
      }
    }
    findings.push_back({"the database lets us do no more than that",
                        CheckLeastPrivilege(config.db_url), /*is_advice=*/true});
    findings.push_back(ConnectionsFinding(config.db_url, config));
    findings.push_back(DurabilityFinding(config.db_url, config));
    return findings;
  }
  if (!config.ephemeral) {
    findings.push_back({absl::StrCat("data can be kept in ", config.data_dir),
                        CheckDataDir(config, *supervisor, stop)});
  }
  // A complete start, which leaves existing data alone.
  db::EmbeddedPostgresOptions options = EmbeddedOptions(config, /*ephemeral=*/true, stop);
  const bool has_settings = !options.settings.empty() && !config.ephemeral;
  // As serve would set them, unless --pg-settings says otherwise: what is said last counts.
  if (has_settings)
    options.settings.insert(options.settings.begin(),
                            {{"fsync", "on"}, {"full_page_writes", "on"}});
  const auto started = db::EmbeddedPostgres::Start(std::move(options), *supervisor);
  findings.push_back(
      {absl::StrCat("PostgreSQL ", started.ok() ? (*started)->version() : "", " starts"),
       started.status()});
  if (has_settings && started.ok())
    findings.push_back(DurabilityFinding((*started)->dsn(), config));
  if (!config.pg_settings.empty() && started.ok())
    findings.push_back(ConnectionsFinding((*started)->dsn(), config));
  return findings;
}

}  // namespace sessiond
