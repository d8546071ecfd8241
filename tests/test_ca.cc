#include "test_ca.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "absl/strings/str_join.h"

namespace sessiond::identity {
namespace {

// The tests' own tool must not fail unnoticed.
void Check(bool done, const char* what) {
  if (done) return;
  std::cerr << "The test authority cannot " << what << ": " << TakeReason() << std::endl;
  std::abort();
}

OwnedX509 ParseCertificate(const std::string& pem) {
  const OwnedBio bio = ReadFrom(pem);
  return OwnedX509(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

OwnedKey ParseKey(const std::string& pem) {
  const OwnedBio bio = ReadFrom(pem);
  return OwnedKey(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  Check(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1, value.c_str());
}

}  // namespace

OwnedKey NewKey(unsigned rsa_bits) {
  OwnedKey key(rsa_bits == 0 ? EVP_EC_gen("P-256") : EVP_RSA_gen(rsa_bits));
  Check(key != nullptr, "make a key");
  return key;
}

std::string PublicKeyPem(EVP_PKEY* key) {
  const OwnedBio bio(BIO_new(BIO_s_mem()));
  Check(PEM_write_bio_PUBKEY(bio.get(), key) == 1, "write a public key");
  return WrittenTo(bio.get());
}

Issued TestCa::Sign(const Certified& certified, X509* issuer, EVP_PKEY* issuer_key) {
  const OwnedKey key = NewKey(certified.rsa_bits);
  const OwnedX509 certificate(X509_new());
  X509* const raw = certificate.get();
  X509_set_version(raw, X509_VERSION_3);
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial));
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(raw), serial >> 1);
  ASN1_TIME_set(X509_getm_notBefore(raw), absl::ToTimeT(certified.not_before));
  ASN1_TIME_set(X509_getm_notAfter(raw), absl::ToTimeT(certified.not_after));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(raw), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(certified.common_name.c_str()),
                             -1, -1, 0);
  if (issuer == nullptr) issuer = raw;
  if (issuer_key == nullptr) issuer_key = key.get();
  X509_set_issuer_name(raw, X509_get_subject_name(issuer));
  X509_set_pubkey(raw, key.get());
  AddExtension(raw, issuer, NID_basic_constraints,
               certified.is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (certified.is_authority) AddExtension(raw, issuer, NID_key_usage, "critical,keyCertSign");
  AddExtension(raw, issuer, NID_subject_key_identifier, "hash");
  if (!certified.names.empty())
    AddExtension(raw, issuer, NID_subject_alt_name, absl::StrJoin(certified.names, ","));
  Check(X509_sign(raw, issuer_key, EVP_sha256()) > 0, "sign a certificate");
  Issued issued;
  const OwnedBio cert_bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(cert_bio.get(), raw);
  issued.cert_pem = WrittenTo(cert_bio.get());
  const OwnedBio key_bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(key_bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  issued.key_pem = WrittenTo(key_bio.get());
  return issued;
}

TestCa::TestCa(const std::string& name, Certified certified) {
  certified.common_name = name;
  certified.is_authority = true;
  own_ = Sign(certified, nullptr, nullptr);
}

Issued TestCa::Issue(const Certified& certified) const {
  return Sign(certified, ParseCertificate(own_.cert_pem).get(), ParseKey(own_.key_pem).get());
}

Issued TestCa::IssueServer() const {
  return Issue({.common_name = "server", .names = {"DNS:localhost", "IP:127.0.0.1", "IP:::1"}});
}

TestCa TestCa::Below(const std::string& name) const {
  TestCa below;
  below.own_ = Issue({.common_name = name, .is_authority = true});
  return below;
}

TestDirectory::TestDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "sessiond_test_XXXXXX").string();
  Check(mkdtemp(name.data()) != nullptr, "make a directory");
  path_ = name;
}

TestDirectory::~TestDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TestDirectory::Write(const std::string& name, const std::string& text,
                                 unsigned mode) const {
  const std::string path = Path(name);
  std::filesystem::remove(path);
  std::ofstream(path) << text;
  chmod(path.c_str(), mode);
  return path;
}

}  // namespace sessiond::identity
