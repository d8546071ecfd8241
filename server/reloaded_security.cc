#include "server/reloaded_security.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/ops/log.h"

namespace sessiond {

identity::ClientAuth ClientAuthOf(const Config& config) {
  if (config.tls_client_auth == "none") return identity::ClientAuth::kNone;
  if (config.tls_client_auth == "optional") return identity::ClientAuth::kOptional;
  if (config.tls_client_auth == "required") return identity::ClientAuth::kRequired;
  return config.tls_client_ca.empty() ? identity::ClientAuth::kNone
                                      : identity::ClientAuth::kRequired;
}

ReloadedSecurity::ReloadedSecurity(const Config& config, access::MethodTable methods)
    : tls_files_{config.tls_cert, config.tls_key, config.tls_client_ca},
      access_file_(config.access_file),
      methods_(std::move(methods)),
      authenticator_(config.access_file, !config.tls_client_ca.empty(), methods_, usages_),
      gate_(authenticator_) {}

absl::StatusOr<std::unique_ptr<ReloadedSecurity>> ReloadedSecurity::Load(
    const Config& config, absl::Span<const std::string> services) {
  auto methods = access::MethodTable::Of(services);
  if (!methods.ok()) return methods.status();
  std::unique_ptr<ReloadedSecurity> security(new ReloadedSecurity(config, *std::move(methods)));
  security->fingerprint_ = security->Fingerprint();
  if (absl::Status loaded = security->LoadAll(); !loaded.ok()) return loaded;
  return security;
}

absl::Status ReloadedSecurity::LoadAll() {
  absl::StatusOr<identity::TlsMaterial> material = identity::TlsMaterial();
  if (!tls_files_.cert.empty()) {
    material = identity::LoadTls(tls_files_, absl::Now());
    if (!material.ok()) return material.status();
  }
  if (absl::Status access = authenticator_.Reload(); !access.ok()) return access;
  if (tls_files_.cert.empty()) return absl::OkStatus();
  if (tls_ == nullptr) {
    tls_ = std::make_shared<identity::CurrentTls>(*std::move(material));
  } else {
    tls_->Set(*std::move(material));
  }
  return absl::OkStatus();
}

bool ReloadedSecurity::Refresh(bool asked) {
  std::string fingerprint = Fingerprint();
  const bool changed = fingerprint != fingerprint_;
  fingerprint_ = std::move(fingerprint);
  // What was refused may be sound by now, without a change: a certificate that was not valid yet.
  const absl::Status before = last_load();
  if (!asked && !changed && before.ok()) return false;
  absl::Status loaded = LoadAll();
  if (!loaded.ok() && !asked && !changed && loaded == before) return false;
  if (loaded.ok()) {
    Log(LogLevel::kInfo, "security", "certificates and access were loaded again");
  } else {
    Log(LogLevel::kError, "security",
        "certificates or access cannot be loaded; what was loaded before serves on",
        {{"why", loaded.message()}});
  }
  const absl::MutexLock lock(&mutex_);
  loaded_ = std::move(loaded);
  return loaded_.ok();
}

absl::Status ReloadedSecurity::last_load() const {
  const absl::MutexLock lock(&mutex_);
  return loaded_;
}

std::string ReloadedSecurity::trouble() const {
  std::vector<std::string> troubles = authenticator_.Troubles();
  const absl::Status loaded = last_load();
  if (!loaded.ok()) {
    troubles.push_back(absl::StrCat("what was loaded last serves on, because ", loaded.message()));
  }
  return absl::StrJoin(troubles, "; ");
}

absl::Time ReloadedSecurity::not_after() const {
  return tls_ == nullptr ? absl::InfiniteFuture() : tls_->Get()->not_after;
}

bool ReloadedSecurity::knows_callers() const {
  return !access_file_.empty() || !tls_files_.client_ca.empty();
}

std::string ReloadedSecurity::Fingerprint() const {
  std::string fingerprint;
  for (const std::string& path :
       {tls_files_.cert, tls_files_.key, tls_files_.client_ca, access_file_}) {
    struct stat status = {};
    if (path.empty()) continue;
    if (stat(path.c_str(), &status) != 0) absl::StrAppend(&fingerprint, "none");
    absl::StrAppend(&fingerprint, status.st_dev, ":", status.st_ino, ":", status.st_size, ":",
                    status.st_ctim.tv_sec, ".", status.st_ctim.tv_nsec, "\n");
  }
  return fingerprint;
}

}  // namespace sessiond
