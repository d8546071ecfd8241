// Certificates for tests: an authority, and what it issues, in files of their own folder.
#pragma once

#include <openssl/pem.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cpp/openssl.h"
#include "grpcpp/security/server_credentials.h"
#include "gtest/gtest.h"

namespace sessiond {

// Gone with the test.
class TestFolder {
 public:
  TestFolder() {
    static int count = 0;
    path_ = absl::StrCat(testing::TempDir(), "sessiond_test.", getpid(), ".", ++count);
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return absl::StrCat(path_, "/", name); }
  // A file with this in it.
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(*this / name, std::ios::binary) << text;
    return *this / name;
  }

 private:
  std::string path_;
};

struct Issued {
  std::string cert, key;            // PEM.
  std::string cert_file, key_file;  // The same in files.
};

struct CertificateOptions {
  std::string common_name;
  std::string names = "DNS:localhost,IP:127.0.0.1";               // As OpenSSL writes them.
  absl::Duration from = -absl::Hours(1), until = absl::Hours(1);  // From now on.
};

class Authority {
 public:
  explicit Authority(const std::string& name) : name_(name), key_(EVP_EC_gen("P-256")) {
    certificate_.reset(New({.common_name = name}, key_.get()));
    Extend(NID_basic_constraints, "critical,CA:TRUE", certificate_.get());
    Sign(certificate_.get());
    file_ = folder_.Write("ca.pem", Pem(certificate_.get()));
  }

  const std::string& file() const { return file_; }
  std::string pem() const { return Pem(certificate_.get()); }

  Issued Issue(const CertificateOptions& options) {
    const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
    const Owned<X509> certificate(New(options, key.get()));
    if (!options.names.empty()) {
      Extend(NID_subject_alt_name, options.names, certificate.get());
    }
    Sign(certificate.get());
    Issued issued = {.cert = Pem(certificate.get()), .key = Pem(key.get())};
    ++count_;
    issued.cert_file = folder_.Write(absl::StrCat(count_, ".pem"), issued.cert);
    issued.key_file = folder_.Write(absl::StrCat(count_, ".key"), issued.key);
    return issued;
  }

 private:
  X509* New(const CertificateOptions& options, EVP_PKEY* key) {
    X509* certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(certificate), absl::ToInt64Seconds(options.from));
    X509_gmtime_adj(X509_getm_notAfter(certificate), absl::ToInt64Seconds(options.until));
    if (!options.common_name.empty()) {
      Name(X509_get_subject_name(certificate), options.common_name);
    }
    Name(X509_get_issuer_name(certificate), name_);
    X509_set_pubkey(certificate, key);
    return certificate;
  }
  static void Name(X509_NAME* name, const std::string& text) {
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(text.data()),
                               static_cast<int>(text.size()), -1, 0);
  }
  static void Extend(int nid, const std::string& value, X509* certificate) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  void Sign(X509* certificate) { X509_sign(certificate, key_.get(), EVP_sha256()); }

  template <class T>
  static std::string Pem(T* object) {
    const Owned<BIO> bio(BIO_new(BIO_s_mem()));
    if constexpr (std::is_same_v<T, X509>) {
      PEM_write_bio_X509(bio.get(), object);
    } else {
      PEM_write_bio_PrivateKey(bio.get(), object, nullptr, nullptr, 0, nullptr, nullptr);
    }
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return std::string(text, static_cast<std::size_t>(size));
  }

  const std::string name_;
  const TestFolder folder_;
  const Owned<EVP_PKEY> key_;
  Owned<X509> certificate_;
  std::string file_;
  long serial_ = 0;
  int count_ = 0;
};

// The daemon's side. `clients` vouches for its clients, who then must show a certificate.
inline std::shared_ptr<grpc::ServerCredentials> Serving(const Issued& own,
                                                        const Authority* clients = nullptr) {
  grpc::SslServerCredentialsOptions options(
      clients == nullptr ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                         : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_key_cert_pairs.push_back({own.key, own.cert});
  if (clients != nullptr) options.pem_root_certs = clients->pem();
  return grpc::SslServerCredentials(options);
}

}  // namespace sessiond
