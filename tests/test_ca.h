// A certificate authority for tests, in memory: no file, no openssl command.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/identity/openssl.h"

namespace sessiond::identity {

struct Issued {
  std::string cert_pem;
  std::string key_pem;
};

// What a certificate says.
struct Certified {
  std::string common_name = "somebody";
  // As OpenSSL's configuration has them: `DNS:a`, `URI:spiffe://t/a`, `IP:127.0.0.1`.
  std::vector<std::string> names = {};
  absl::Time not_before = absl::Now() - absl::Hours(1);
  absl::Time not_after = absl::Now() + absl::Hours(1);
  bool is_authority = false;
  // 0: an elliptic curve's key, P-256.
  unsigned rsa_bits = 0;
};

OwnedKey NewKey(unsigned rsa_bits = 0);
std::string PublicKeyPem(EVP_PKEY* key);

class TestCa {
 public:
  explicit TestCa(const std::string& name, Certified certified = {});

  Issued Issue(const Certified& certified) const;
  // A server's, for this machine's loopback.
  Issued IssueServer() const;
  // An authority below this one.
  TestCa Below(const std::string& name) const;

  const std::string& cert_pem() const { return own_.cert_pem; }
  const std::string& key_pem() const { return own_.key_pem; }

 private:
  TestCa() = default;
  static Issued Sign(const Certified& certified, X509* issuer, EVP_PKEY* issuer_key);

  Issued own_;
};

// A directory that goes with it.
class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;

  std::string Path(const std::string& name) const { return (path_ / name).string(); }
  // Writes the file anew; returns its path.
  std::string Write(const std::string& name, const std::string& text, unsigned mode = 0600) const;

 private:
  std::filesystem::path path_;
};

}  // namespace sessiond::identity
