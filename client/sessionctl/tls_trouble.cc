#include "client/sessionctl/tls_trouble.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cpp/openssl.h"
#include "client/sessionctl/printable.h"

namespace sessiond::ctl {
namespace {

// For connecting, and for each answer.
constexpr timeval kPatience = {.tv_sec = 1, .tv_usec = 0};

struct Peer {
  std::string host;  // localhost for a socket, as gRPC has it.
  std::string port;
  std::string path;
};

// Nothing for addresses of several daemons, and of name servers of their own.
std::optional<Peer> PeerOf(absl::string_view server) {
  if (absl::ConsumePrefix(&server, "unix:")) {
    absl::ConsumePrefix(&server, "//");
    return Peer{"localhost", "", std::string(server)};
  }
  if (!absl::ConsumePrefix(&server, "dns:///")) absl::ConsumePrefix(&server, "dns:");
  const std::size_t colon = server.rfind(':');
  if (colon == server.npos || absl::StrContains(server, ',') || absl::StrContains(server, '/')) {
    return std::nullopt;
  }
  absl::string_view host = server.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return Peer{std::string(host), std::string(server.substr(colon + 1)), ""};
}

int ConnectTo(const sockaddr* address, socklen_t size) {
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  if (connect(fd, address, size) == 0) return fd;
  close(fd);
  return -1;
}

int Connect(const Peer& peer) {
  if (!peer.path.empty()) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (peer.path.size() >= sizeof address.sun_path) return -1;
    std::memcpy(address.sun_path, peer.path.data(), peer.path.size());
    return ConnectTo(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(peer.host.c_str(), peer.port.c_str(), &hints, &found) != 0) return -1;
  const absl::Cleanup free_them = [found] { freeaddrinfo(found); };
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (const int fd = ConnectTo(each->ai_addr, each->ai_addrlen); fd >= 0) return fd;
  }
  return -1;
}

bool IsIp(const std::string& host) {
  ASN1_OCTET_STRING* address = a2i_IPADDRESS(host.c_str());
  ASN1_OCTET_STRING_free(address);
  return address != nullptr;
}

Owned<SSL_CTX> ContextFor(const TlsOptions& tls) {
  Owned<SSL_CTX> context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return nullptr;
  // The same authorities as gRPC's.
  const char* of_grpc = std::getenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
  const std::string authorities = !tls.ca_file.empty() ? tls.ca_file
                                  : of_grpc != nullptr ? of_grpc
                                                       : "";
  if (authorities.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    SSL_CTX_load_verify_locations(context.get(), authorities.c_str(), nullptr);
  }
  if (!tls.cert_file.empty()) {
    SSL_CTX_use_certificate_chain_file(context.get(), tls.cert_file.c_str());
    SSL_CTX_use_PrivateKey_file(context.get(), tls.key_file.c_str(), SSL_FILETYPE_PEM);
  }
  // The handshake goes on to its end; what is wrong is asked for then.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  constexpr unsigned char kHttp2[] = "\x02h2";
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof kHttp2 - 1);
  return context;
}

std::string Text(const ASN1_STRING* string) {
  return Printable({reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
                    static_cast<std::size_t>(ASN1_STRING_length(string))});
}

// The names that a client may know it by.
std::vector<std::string> NamesOf(X509* certificate) {
  std::vector<std::string> names;
  const Owned<GENERAL_NAMES> all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; all != nullptr && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type == GEN_DNS) names.push_back(Text(name->d.dNSName));
    if (name->type == GEN_IPADD) {
      const ASN1_OCTET_STRING* ip = name->d.iPAddress;
      char text[INET6_ADDRSTRLEN] = "";
      inet_ntop(ip->length == 4 ? AF_INET : AF_INET6, ip->data, text, sizeof text);
      names.emplace_back(text);
    }
  }
  return names;
}

// An issuer, as people know it: its common name, or else its organisation.
std::string IssuerOf(X509* certificate) {
  X509_NAME* issuer = X509_get_issuer_name(certificate);
  for (const int part : {NID_commonName, NID_organizationName}) {
    const int index = X509_NAME_get_index_by_NID(issuer, part, -1);
    if (index >= 0) return Text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(issuer, index)));
  }
  return "an authority without a name";
}

Trouble SpeaksTls(const Connection& connection) {
  return {absl::StrCat(connection.server, " speaks TLS, and was asked without it"),
          {"the same command with --tls-ca FILE, the authority that issued its certificate",
           "the same command with --tls, if this system knows that authority"}};
}

Trouble SpeaksPlaintext(const Connection& connection) {
  Trouble trouble = {absl::StrCat(connection.server, " speaks no TLS, and was asked for it"), {}};
  if (!absl::StrContains(connection.server, "unix:") &&
      !absl::StartsWith(connection.server, "dns:")) {
    trouble.next.push_back(absl::StrCat("the same command with --server http://",
                                        ShellWord(connection.server),
                                        ", without the --tls… flags: nothing is encrypted then"));
  }
  trouble.next.push_back("another port: the one where the daemon speaks TLS");
  return trouble;
}

// The daemon broke off the handshake, or what came behind it. `alert` is its reason, 0 if it gave
// none.
Trouble RefusesClient(const Connection& connection, unsigned long alert) {
  if (connection.tls->cert_file.empty()) {
    return {
        absl::StrCat(connection.server, " wants to see a certificate of yours, and was shown none"),
        {"the same command with --tls-cert FILE --tls-key FILE"}};
  }
  const char* reason = alert == 0 ? nullptr : ERR_reason_error_string(alert);
  return {
      absl::StrCat(connection.server, " does not accept the certificate in ",
                   connection.tls->cert_file, ": ", reason == nullptr ? "it hung up" : reason),
      {absl::StrCat("openssl x509 -noout -issuer -dates -in ", ShellWord(connection.tls->cert_file),
                    "  # who issued it, and until when; the daemon trusts its "
                    "--tls-client-ca")}};
}

Trouble Untrusted(const Connection& connection, X509* certificate, long result) {
  const std::string who = absl::StrCat("The certificate of ", connection.server);
  const std::string by = connection.tls->ca_file.empty()
                             ? "none of the authorities that this system trusts"
                             : "none of the authorities in " + connection.tls->ca_file;
  switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return {absl::StrCat(who, " has expired, at ", TimeText(X509_get0_notAfter(certificate))),
              {"whoever runs the daemon renews it",
               "date -u  # whether this machine's clock is right"}};
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return {
          absl::StrCat(who, " is not valid before ", TimeText(X509_get0_notBefore(certificate))),
          {"date -u  # whether this machine's clock is right"}};
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return {absl::StrCat(who, " was issued by ", IssuerOf(certificate), ", and ", by,
                           " vouches for it"),
              {"the same command with --tls-ca FILE, the authority that issued it, as PEM"}};
    default:
      return {absl::StrCat(who, " is not accepted: ", X509_verify_cert_error_string(result)),
              {"whoever runs the daemon can replace it"}};
  }
}

Trouble OtherName(const Connection& connection, X509* certificate, const std::string& wanted) {
  const std::vector<std::string> names = NamesOf(certificate);
  Trouble trouble = {absl::StrCat("The certificate of ", connection.server, " is for ",
                                  names.empty() ? "no name" : absl::StrJoin(names, ", "),
                                  ", and not for ", wanted),
                     {}};
  if (names.empty() || absl::StartsWith(names[0], "*")) {
    trouble.next.push_back("whoever runs the daemon can issue one for its name");
  } else {
    trouble.next.push_back(absl::StrCat("the same command with --tls-server-name ",
                                        ShellWord(names[0]), ", if that is the daemon you mean"));
  }
  return trouble;
}

// What the daemon says within a second behind the handshake: its first frame, or that it does not
// like the client. With TLS 1.3 it says so only then, and gRPC's server does not say it: it hangs
// up.
std::optional<Trouble> AfterHandshake(const Connection& connection, SSL* ssl, bool asked) {
  ERR_clear_error();
  char byte;
  const int size = SSL_read(ssl, &byte, 1);
  if (size > 0 || SSL_get_error(ssl, size) == SSL_ERROR_WANT_READ) return std::nullopt;
  const unsigned long error = ERR_peek_last_error();
  if (ERR_GET_REASON(error) > SSL_AD_REASON_OFFSET) return RefusesClient(connection, error);
  if (asked) return RefusesClient(connection, 0);
  return std::nullopt;
}

}  // namespace

std::optional<Trouble> FindTlsTrouble(const Connection& connection) {
  const auto peer = PeerOf(connection.server);
  if (!peer.has_value()) return std::nullopt;
  const int fd = Connect(*peer);
  if (fd < 0) return std::nullopt;
  const absl::Cleanup close_it = [fd] { close(fd); };
  const absl::Cleanup forget_errors = [] { ERR_clear_error(); };
  const Owned<SSL_CTX> context = ContextFor(connection.tls.value_or(TlsOptions{}));
  const Owned<SSL> ssl(context == nullptr ? nullptr : SSL_new(context.get()));
  if (ssl == nullptr) return std::nullopt;
  const std::string name = connection.tls.has_value() && !connection.tls->server_name.empty()
                               ? connection.tls->server_name
                               : peer->host;
  if (!IsIp(name)) SSL_set_tlsext_host_name(ssl.get(), name.c_str());
  SSL_set_fd(ssl.get(), fd);
  bool asked = false;  // For a certificate.
  const auto note = [](SSL*, void* asked) {
    *static_cast<bool*>(asked) = true;
    return 1;
  };
  SSL_set_cert_cb(ssl.get(), note, &asked);
  ERR_clear_error();
  const bool shaken = SSL_connect(ssl.get()) == 1;
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  const bool alerted = reason > SSL_AD_REASON_OFFSET;
  if (!connection.tls.has_value()) {
    if (shaken || alerted) return SpeaksTls(connection);
    return std::nullopt;
  }
  if (!shaken) {
    if (alerted) return RefusesClient(connection, ERR_peek_last_error());
    if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
        reason == SSL_R_UNEXPECTED_MESSAGE) {
      return SpeaksPlaintext(connection);
    }
    if (asked) return RefusesClient(connection, 0);
    return std::nullopt;
  }
  const Owned<X509> certificate(SSL_get1_peer_certificate(ssl.get()));
  if (certificate == nullptr) return std::nullopt;
  if (const long result = SSL_get_verify_result(ssl.get()); result != X509_V_OK) {
    return Untrusted(connection, certificate.get(), result);
  }
  const bool matches =
      IsIp(name) ? X509_check_ip_asc(certificate.get(), name.c_str(), 0) == 1
                 : X509_check_host(certificate.get(), name.data(), name.size(), 0, nullptr) == 1;
  if (!matches) return OtherName(connection, certificate.get(), name);
  return AfterHandshake(connection, ssl.get(), asked);
}

}  // namespace sessiond::ctl
