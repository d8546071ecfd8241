#include "server/identity/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/files/small_file.h"
#include "server/identity/openssl.h"

namespace sessiond::identity {
namespace {

// A bundle of all the public authorities has 200 KiB.
constexpr std::size_t kFileBytesMax = 1 << 20;

// A file, and what it is called in sentences about it.
struct Source {
  const char* what;
  const std::string& path;

  template <class... Why>
  absl::Status Refuse(const Why&... why) const {
    return absl::InvalidArgumentError(absl::StrCat("The ", what, " ", path, " ", why...));
  }
};

// No one types a passphrase into a daemon.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? absl::FromTM(parts, absl::UTCTimeZone())
                                            : absl::InfinitePast();
}

absl::Time NotBefore(const X509* certificate) { return TimeOf(X509_get0_notBefore(certificate)); }
absl::Time NotAfter(const X509* certificate) { return TimeOf(X509_get0_notAfter(certificate)); }

// Without the byte-order marks of the files that it was put together from: OpenSSL passes over a
// block with one before it, unless that is the first line that it looks at.
std::string WithoutMarks(absl::string_view pem) {
  std::string text;
  for (const absl::string_view line : absl::StrSplit(pem, '\n')) {
    if (line.data() != pem.data()) text += '\n';
    absl::StrAppend(&text, WithoutByteOrderMark(line));
  }
  return text;
}

// Whether a certificate was meant to begin here, whatever OpenSSL makes of the line: something that
// nobody sees may stand before it.
bool BeginsCertificate(absl::string_view line) {
  while (!line.empty() && !absl::ascii_isgraph(static_cast<unsigned char>(line[0])))
    line.remove_prefix(1);
  return absl::StartsWith(line, "-----BEGIN CERTIFICATE-") ||
         absl::StartsWith(line, "-----BEGIN X509 CERTIFICATE-");
}

std::size_t CertificatesBegunIn(absl::string_view text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, absl::ByAnyChar("\r\n"));
  return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(), BeginsCertificate));
}

// Every certificate of a file, in its order. A block that was cut off is an error, not an end; so
// is one that OpenSSL passes over.
absl::StatusOr<std::vector<OwnedX509>> ReadCertificates(const Source& source,
                                                        absl::string_view pem) {
  const std::string text = WithoutMarks(pem);
  ERR_clear_error();
  const OwnedBio bio = ReadFrom(text);
  std::vector<OwnedX509> certificates;
  while (X509* const next = PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr))
    certificates.emplace_back(next);
  const bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string reason = TakeReason();
  if (!is_end) {
    return source.Refuse("has a certificate that cannot be read, its number ",
                         certificates.size() + 1, " (", reason,
                         "): write the file again, or wait until it is written.");
  }
  const std::size_t begun = CertificatesBegunIn(text);
  if (begun != certificates.size()) {
    return source.Refuse("has ", begun, " lines `-----BEGIN CERTIFICATE-----`, and ",
                         certificates.size(),
                         " certificates that can be read: such a line has to begin at the left, "
                         "with nothing before or behind it.");
  }
  if (certificates.empty()) {
    return source.Refuse(
        "holds no certificate in PEM form: it has to have a line `-----BEGIN CERTIFICATE-----`.");
  }
  return certificates;
}

std::string ToPem(const std::vector<OwnedX509>& certificates) {
  const OwnedBio bio(BIO_new(BIO_s_mem()));
  for (const OwnedX509& certificate : certificates)
    PEM_write_bio_X509(bio.get(), certificate.get());
  return WrittenTo(bio.get());
}

std::string ToPem(EVP_PKEY* key) {
  const OwnedBio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return WrittenTo(bio.get());
}

// Each is in date, and was issued by the next.
absl::Status CheckChain(const Source& source, const std::vector<OwnedX509>& chain, absl::Time now) {
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const X509* const certificate = chain[i].get();
    if (NotAfter(certificate) <= now) {
      return source.Refuse("has expired: its certificate ", i + 1, " was valid until ",
                           absl::FormatTime(NotAfter(certificate), absl::UTCTimeZone()),
                           "; have it renewed.");
    }
    if (NotBefore(certificate) > now) {
      return source.Refuse("is not valid yet: its certificate ", i + 1, " will be from ",
                           absl::FormatTime(NotBefore(certificate), absl::UTCTimeZone()),
                           "; wait, or set the clock.");
    }
    if (i > 0 && X509_check_issued(chain[i].get(), chain[i - 1].get()) != X509_V_OK) {
      return source.Refuse("is out of order: its certificate ", i + 1, " did not issue number ", i,
                           "; put the server's certificate first, then its issuer's, and so on.");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<OwnedKey> ReadKey(const Source& source) {
  const absl::StatusOr<SmallFile> file = ReadSmallFile(source.what, source.path, kFileBytesMax);
  if (!file.ok()) return file.status();
  const struct stat& stat = file->stat;
  const bool is_roots = stat.st_uid == 0;
  if (!is_roots && stat.st_uid != geteuid()) {
    return source.Refuse("belongs to another user (", stat.st_uid,
                         "): it has to belong to the daemon's user, or to root.");
  }
  if ((stat.st_mode & (is_roots ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO)) != 0) {
    return source.Refuse("is open to others (mode ", absl::StrFormat("%04o", stat.st_mode & 07777),
                         "): type `chmod ", is_roots ? "640" : "600", " ", source.path, "`.");
  }
  ERR_clear_error();
  const std::string text = WithoutMarks(file->text);
  const OwnedBio bio = ReadFrom(text);
  OwnedKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key != nullptr) return key;
  // OpenSSL's reasons do not tell these apart.
  const std::string reason = TakeReason();
  if (!absl::StrContains(file->text, "PRIVATE KEY-----")) {
    return source.Refuse(
        "holds no private key in PEM form: it has to have a line `-----BEGIN PRIVATE KEY-----`.");
  }
  if (absl::StrContains(file->text, "ENCRYPTED")) {
    return source.Refuse(
        "needs a passphrase: write it without one (`openssl pkey -in KEY -out NEW_KEY`).");
  }
  return source.Refuse("has a private key that cannot be read (", reason,
                       "): write the file again, or wait until it is written.");
}

// What gRPC will do with them, with the least strength that this machine's OpenSSL lets pass.
absl::Status CheckTogether(const Source& cert, const std::vector<OwnedX509>& chain,
                           const Source& key_source, EVP_PKEY* key) {
  ERR_clear_error();
  if (X509_check_private_key(chain[0].get(), key) != 1) {
    TakeReason();
    return key_source.Refuse("does not belong to the certificate ", cert.path,
                             ": name the two that were made together, or wait until both are "
                             "written.");
  }
  const OwnedSslContext context(SSL_CTX_new(TLS_server_method()));
  bool usable = SSL_CTX_use_certificate(context.get(), chain[0].get()) == 1;
  for (std::size_t i = 1; usable && i < chain.size(); ++i)
    usable = SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) == 1;
  usable = usable && SSL_CTX_use_PrivateKey(context.get(), key) == 1;
  if (usable) return absl::OkStatus();
  return cert.Refuse("cannot be served (", TakeReason(),
                     "): have one issued with a key and a signature of today's strength.");
}

absl::StatusOr<std::string> LoadClientCa(const Source& source, absl::Time now) {
  const absl::StatusOr<SmallFile> file = ReadSmallFile(source.what, source.path, kFileBytesMax);
  if (!file.ok()) return file.status();
  const absl::StatusOr<std::vector<OwnedX509>> authorities = ReadCertificates(source, file->text);
  if (!authorities.ok()) return authorities.status();
  for (std::size_t i = 0; i < authorities->size(); ++i) {
    if (X509_check_ca((*authorities)[i].get()) == 0) {
      return source.Refuse("holds a certificate that may not issue others, its number ", i + 1,
                           ": name the file of the authority that issues the clients'.");
    }
  }
  const bool any_in_date =
      std::any_of(authorities->begin(), authorities->end(), [now](const OwnedX509& authority) {
        return NotBefore(authority.get()) <= now && now < NotAfter(authority.get());
      });
  if (!any_in_date) {
    return source.Refuse("holds no authority that is in date: have its certificate renewed.");
  }
  return ToPem(*authorities);
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTls(const TlsFiles& files, absl::Time now) {
  const Source cert{"TLS certificate", files.cert};
  const Source key{"TLS key", files.key};
  const absl::StatusOr<SmallFile> file = ReadSmallFile(cert.what, cert.path, kFileBytesMax);
  if (!file.ok()) return file.status();
  const absl::StatusOr<std::vector<OwnedX509>> chain = ReadCertificates(cert, file->text);
  if (!chain.ok()) return chain.status();
  if (absl::Status checked = CheckChain(cert, *chain, now); !checked.ok()) return checked;
  const absl::StatusOr<OwnedKey> private_key = ReadKey(key);
  if (!private_key.ok()) return private_key.status();
  if (absl::Status checked = CheckTogether(cert, *chain, key, private_key->get()); !checked.ok())
    return checked;
  TlsMaterial material{.cert_chain_pem = ToPem(*chain), .key_pem = ToPem(private_key->get())};
  material.not_after = absl::InfiniteFuture();
  for (const OwnedX509& certificate : *chain)
    material.not_after = std::min(material.not_after, NotAfter(certificate.get()));
  if (files.client_ca.empty()) return material;
  absl::StatusOr<std::string> client_ca = LoadClientCa({"client CA", files.client_ca}, now);
  if (!client_ca.ok()) return client_ca.status();
  material.client_ca_pem = *std::move(client_ca);
  return material;
}

}  // namespace sessiond::identity
