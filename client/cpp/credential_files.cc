#include "credential_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "openssl.h"
#include "read_file.h"

namespace sessiond {
namespace {

// More than all the authorities of the world (about 200 KiB) and less than what hurts.
constexpr std::size_t kFileBytesMax = 4 << 20;
// The daemon takes 32 KiB of metadata in a call; a token is rarely longer than 2 KiB.
constexpr std::size_t kTokenBytesMax = 16 << 10;
// How long a change may go unnoticed that a file's times do not show: two within one tick of the
// clock, and file systems that tell them late.
constexpr absl::Duration kReadAgainAfter = absl::Seconds(5);

absl::Status Refused(absl::string_view what, const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("The ", what, " ", path, " ", why));
}

absl::StatusOr<std::string> ContentOf(absl::string_view what, const std::string& path) {
  std::string content;
  const std::error_code error = ReadFile(path, content, kFileBytesMax);
  if (error == std::errc::file_too_large) return Refused(what, path, "is longer than 4 MiB");
  if (error) return Refused(what, path, absl::StrCat("cannot be read: ", error.message()));
  return content;
}

// The same of a file in PEM, without the byte-order marks of the files that it was put together
// from: OpenSSL passes over a block with one before it, unless that is the first line that it looks
// at.
absl::StatusOr<std::string> PemOf(absl::string_view what, const std::string& path) {
  const absl::StatusOr<std::string> content = ContentOf(what, path);
  if (!content.ok()) return content.status();
  std::string pem;
  for (absl::string_view line : absl::StrSplit(*content, '\n')) {
    if (line.data() != content->data()) pem += '\n';
    absl::ConsumePrefix(&line, "\xEF\xBB\xBF");
    pem.append(line.data(), line.size());
  }
  return pem;
}

// Whether a certificate was meant to begin here, whatever OpenSSL makes of the line: something that
// nobody sees may stand before it.
bool BeginsCertificate(absl::string_view line) {
  while (!line.empty() && !absl::ascii_isgraph(static_cast<unsigned char>(line[0])))
    line.remove_prefix(1);
  return absl::StartsWith(line, "-----BEGIN CERTIFICATE-") ||
         absl::StartsWith(line, "-----BEGIN X509 CERTIFICATE-");
}

std::ptrdiff_t CertificatesBegunIn(absl::string_view pem) {
  const std::vector<absl::string_view> lines = absl::StrSplit(pem, absl::ByAnyChar("\r\n"));
  return std::count_if(lines.begin(), lines.end(), BeginsCertificate);
}

Owned<BIO> BioOf(const std::string& pem) {
  return Owned<BIO>(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// The first certificate of the file, once all of them have been read.
absl::StatusOr<Owned<X509>> CheckCertificates(absl::string_view what, const std::string& path,
                                              const std::string& pem) {
  const absl::Cleanup forget_errors = [] { ERR_clear_error(); };
  const Owned<BIO> bio = BioOf(pem);
  Owned<X509> first;
  std::ptrdiff_t count = 0;
  while (true) {
    ERR_clear_error();
    Owned<X509> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (certificate != nullptr) {
      ++count;
      if (first == nullptr) first = std::move(certificate);
      continue;
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
      return Refused(what, path, "has a certificate in it that cannot be read: it is damaged");
    }
    break;
  }
  if (const std::ptrdiff_t begun = CertificatesBegunIn(pem); begun != count) {
    return Refused(what, path,
                   absl::StrCat("has ", begun, " lines -----BEGIN CERTIFICATE-----, and ", count,
                                " certificates that can be read: such a line begins at the left, "
                                "with nothing before or behind it"));
  }
  if (first != nullptr) return first;
  if (pem.empty()) return Refused(what, path, "is empty");
  if (absl::StrContains(pem, "PRIVATE KEY-----")) {
    return Refused(what, path, "holds a key, where a certificate is wanted");
  }
  const auto* der = reinterpret_cast<const unsigned char*>(pem.data());
  if (Owned<X509>(d2i_X509(nullptr, &der, static_cast<long>(pem.size()))) != nullptr) {
    return Refused(what, path,
                   absl::StrCat("is in DER, where PEM is wanted: openssl x509 -inform der -in ",
                                path, " -out FILE.pem"));
  }
  return Refused(what, path, "holds no certificate: it has no line -----BEGIN CERTIFICATE-----");
}

absl::StatusOr<Owned<EVP_PKEY>> CheckKey(const std::string& path, const std::string& pem) {
  const absl::Cleanup forget_errors = [] { ERR_clear_error(); };
  const Owned<BIO> bio = BioOf(pem);
  bool asked = false;
  const auto passphrase = [](char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
  };
  Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, passphrase, &asked));
  if (key != nullptr) return key;
  constexpr char kWhat[] = "key file";
  if (asked) {
    return Refused(
        kWhat, path,
        absl::StrCat("is locked with a passphrase, which nobody is here to type: openssl "
                     "pkey -in ",
                     path, " -out FILE.pem, and keep that one private"));
  }
  if (pem.empty()) return Refused(kWhat, path, "is empty");
  if (absl::StrContains(pem, "-----BEGIN CERTIFICATE") &&
      !absl::StrContains(pem, "PRIVATE KEY-----")) {
    return Refused(kWhat, path, "holds a certificate, where its key is wanted");
  }
  if (absl::StrContains(pem, "PRIVATE KEY-----")) {
    return Refused(kWhat, path, "has a key in it that cannot be read: it is damaged");
  }
  return Refused(kWhat, path, "holds no key: it has no line -----BEGIN PRIVATE KEY-----");
}

}  // namespace

absl::StatusOr<std::string> ReadAuthorities(const std::string& path) {
  constexpr char kWhat[] = "CA file";
  auto pem = PemOf(kWhat, path);
  if (!pem.ok()) return pem.status();
  if (auto first = CheckCertificates(kWhat, path, *pem); !first.ok()) return first.status();
  return pem;
}

absl::StatusOr<KeyPair> ReadKeyPair(const std::string& cert_path, const std::string& key_path) {
  constexpr char kWhat[] = "certificate file";
  auto chain = PemOf(kWhat, cert_path);
  if (!chain.ok()) return chain.status();
  const auto certificate = CheckCertificates(kWhat, cert_path, *chain);
  if (!certificate.ok()) return certificate.status();
  auto pem = PemOf("key file", key_path);
  if (!pem.ok()) return pem.status();
  const auto key = CheckKey(key_path, *pem);
  if (!key.ok()) return key.status();
  const absl::Cleanup forget_errors = [] { ERR_clear_error(); };
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    return Refused("key file", key_path,
                   absl::StrCat("does not belong to the certificate in ", cert_path));
  }
  const ASN1_TIME* not_after = X509_get0_notAfter(certificate->get());
  if (X509_cmp_current_time(not_after) < 0) {
    return Refused(kWhat, cert_path,
                   absl::StrCat("has expired, at ", TimeText(not_after), ": it must be renewed"));
  }
  return KeyPair{*std::move(chain), *std::move(pem)};
}

absl::Status CheckToken(absl::string_view what, absl::string_view token) {
  const auto refused = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(what, " ", why));
  };
  if (token.empty()) return refused("holds no token: it is empty");
  if (token.size() > kTokenBytesMax) return refused("holds no token: it is longer than 16 KiB");
  const bool visible = std::all_of(token.begin(), token.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (!visible) {
    return refused(
        "holds more than a token, or none: a token is one word of letters, digits and signs, "
        "without \"Bearer\" before it");
  }
  return absl::OkStatus();
}

bool LooksLikeToken(absl::string_view path) {
  if (absl::StartsWith(path, "eyJ")) return true;  // What every JWT begins with.
  return path.size() >= 32 && !absl::StrContains(path, '/') && !absl::StrContains(path, '.');
}

absl::StatusOr<std::string> TokenFile::Get() {
  absl::MutexLock lock(&mutex_);
  // Looked at before it is read: what changes meanwhile is found the next time.
  const Version now = VersionOf(path_);
  if (!token_.empty() && now == version_ && since_read_.elapsed() < kReadAgainAfter) return token_;
  auto token = Read();
  if (!token.ok()) {
    if (token_.empty()) return token.status();
    return token_;
  }
  token_ = *std::move(token);
  version_ = now;
  since_read_ = Stopwatch();
  return token_;
}

TokenFile::Version TokenFile::VersionOf(const std::string& path) {
  struct stat file = {};
  if (stat(path.c_str(), &file) != 0) return {};
  const auto nanoseconds = [](const timespec& time) {
    return static_cast<long long>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  };
  return {file.st_dev, file.st_ino, static_cast<long long>(file.st_size), nanoseconds(file.st_mtim),
          nanoseconds(file.st_ctim)};
}

absl::StatusOr<std::string> TokenFile::Read() const {
  if (LooksLikeToken(path_) && access(path_.c_str(), F_OK) != 0) {
    return absl::InvalidArgumentError(
        "What is given as the token file is no file, and looks like a token itself: write it into "
        "a file that only you can read, and name that");
  }
  auto content = ContentOf("token file", path_);
  if (!content.ok()) return content.status();
  absl::string_view token = *content;
  absl::ConsumePrefix(&token, "\xEF\xBB\xBF");
  token = absl::StripAsciiWhitespace(token);
  if (absl::Status status = CheckToken(absl::StrCat("The token file ", path_), token);
      !status.ok()) {
    return status;
  }
  return std::string(token);
}

}  // namespace sessiond
