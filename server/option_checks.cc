#include "server/option_checks.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "server/http/cors.h"
#include "server/workflows_dir.h"

namespace sessiond {
namespace {

absl::Status CheckLoopback(const Address& address, absl::string_view option, const Config& config) {
  const std::string missing = WhatIsMissing(config);
  if (missing.empty() || config.insecure || IsLoopback(address)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "--", option, " ", ToString(address), " can be reached from other machines, and ", missing,
      ": listen on loopback, see docs/security.md, or say --insecure if the network in between is "
      "to be trusted"));
}

absl::Status CheckTlsOptions(const Config& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        config.tls_key.empty() ? "--tls-cert without --tls-key" : "--tls-key without --tls-cert",
        ": a certificate is of no use without its key; give both"));
  }
  if (!config.tls_client_ca.empty() && config.tls_cert.empty()) {
    return absl::FailedPreconditionError(
        "--tls-client-ca without --tls-cert: clients show certificates only to a server that has "
        "one");
  }
  if (!config.tls_client_ca.empty() && config.tls_client_auth == "none") {
    return absl::FailedPreconditionError(
        "--tls-client-auth none with --tls-client-ca: nobody would be asked for a certificate; "
        "leave "
        "one of them out");
  }
  if (config.tls_client_ca.empty() &&
      (config.tls_client_auth == "optional" || config.tls_client_auth == "required")) {
    return absl::FailedPreconditionError(
        absl::StrCat("--tls-client-auth ", config.tls_client_auth,
                     " without --tls-client-ca: say who issues clients' certificates"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<ListeningPlace> ListeningPlaces(const Config& config) {
  std::vector<ListeningPlace> places;
  const std::vector<Address> of_grpc = ParseAddresses(config.grpc_listen).value();
  for (const Address& address : of_grpc) places.push_back({address, "grpc-listen"});
  if (config.http_listen != "off")
    places.push_back({ParseAddress(config.http_listen).value(), "http-listen"});
  return places;
}

std::string WhatIsMissing(const Config& config) {
  if (config.tls_cert.empty()) return "calls are not encrypted (--tls-cert)";
  if (config.tls_client_ca.empty() && config.access_file.empty())
    return "callers are not known (--tls-client-ca, --access-file)";
  return "";
}

absl::Status CheckOptions(const Config& config) {
  const auto other_postgres = [](absl::string_view option) {
    return absl::FailedPreconditionError(absl::StrCat(
        option, " is for the embedded PostgreSQL and --db-url names another: give one of them"));
  };
  if (!config.db_url.empty() && config.ephemeral) return other_postgres("--ephemeral");
  if (!config.db_url.empty() && !config.pg_settings.empty()) return other_postgres("--pg-settings");
  if (absl::Status status = CheckTlsOptions(config); !status.ok()) return status;
  if (http::Cors(config.http_allow_origins).any() && config.access_file.empty() &&
      config.tls_client_ca.empty()) {
    return absl::FailedPreconditionError(
        "--http-allow-origins * without --access-file: every page that somebody opens in a browser "
        "here could change sessions; name the origins, or say who may call");
  }
  std::map<std::string, absl::string_view> taken;
  for (const auto& [address, option] : ListeningPlaces(config)) {
    if (!address.is_unix() && address.port == 0) continue;
    const auto [at, is_new] = taken.emplace(ToString(address), option);
    if (is_new) continue;
    return absl::FailedPreconditionError(
        at->second == option ? absl::StrCat("--", option, " has ", ToString(address), " twice")
                             : absl::StrCat("--", at->second, " and --", option, " are both ",
                                            ToString(address), ": give them two ports"));
  }
  return WorkflowsAtStart(config.workflows_dir).status();
}

absl::Status CheckPlace(const ListeningPlace& place, const Config& config) {
  if (auto status = CheckLoopback(place.address, place.option, config); !status.ok()) return status;
  // A port that another of our options reserves is not proposed.
  int reserved = 0;
  for (const ListeningPlace& other : ListeningPlaces(config)) {
    if (other.option != place.option) reserved = other.address.port;
  }
  return ProbeAddress(place.address, absl::StrCat("--", place.option), reserved);
}

absl::Status CheckAddresses(const Config& config) {
  if (absl::Status status = CheckOptions(config); !status.ok()) return status;
  for (const ListeningPlace& place : ListeningPlaces(config)) {
    if (absl::Status status = CheckPlace(place, config); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sessiond
