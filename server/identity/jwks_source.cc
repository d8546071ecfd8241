#include "server/identity/jwks_source.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/identity/openssl.h"
#include "server/identity/small_file.h"

namespace sessiond::identity {
namespace {

constexpr absl::string_view kHttps = "https://";
constexpr int kHttpsPort = 443;
constexpr int kOk = 200;

const char* Reason(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
      return "it cannot be connected to";
    case httplib::Error::ConnectionTimeout:
      return "it does not accept the connection in time";
    case httplib::Error::Read:
      return "its answer ends early, or does not come in time";
    case httplib::Error::Write:
      return "it does not take the request";
    case httplib::Error::SSLConnection:
      return "it does not speak TLS, or not ours";
    case httplib::Error::SSLLoadingCerts:
      return "the file of the authorities to believe cannot be read";
    case httplib::Error::SSLServerVerification:
      return "its certificate is not to be believed: it is another host's, expired, or of an "
             "authority that is not trusted here";
    default:
      return "it gives no answer";
  }
}

bool IsIp(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

// One request, which another thread may break off.
class JwksSource::Fetch {
 public:
  Fetch(const Options& options, const Address& address)
      : options_(options), path_(address.path), client_(address.host, address.port) {
    const auto timeout = absl::ToChronoMicroseconds(options.timeout);
    client_.set_connection_timeout(timeout);
    client_.set_read_timeout(timeout);
    client_.set_write_timeout(timeout);
    client_.set_follow_location(false);
    client_.set_decompress(false);
    client_.enable_server_certificate_verification(true);
    if (!options.ca_file.empty()) client_.set_ca_cert_path(options.ca_file);
    SSL_CTX* const context = client_.ssl_context();
    if (context == nullptr) return;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    // The library would be content with a common name.
    X509_VERIFY_PARAM* const verified = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_hostflags(verified, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (IsIp(address.host)) {
      X509_VERIFY_PARAM_set1_ip_asc(verified, address.host.c_str());
    } else {
      X509_VERIFY_PARAM_set1_host(verified, address.host.c_str(), 0);
    }
  }

  // The answer's body; else what is wrong, in words that follow a colon.
  absl::StatusOr<std::string> Run() {
    const SteadyTime end = SteadyTime::Now() + options_.answer_timeout;
    int status = 0;
    bool too_large = false;
    std::string body;
    const httplib::Result result = client_.Get(
        path_,
        {{"Accept", "application/jwk-set+json, application/json"}, {"Accept-Encoding", "identity"}},
        [&](const httplib::Response& response) {
          status = response.status;
          return status == kOk;
        },
        [&](const char* data, std::size_t size) {
          too_large = body.size() + size > options_.bytes_max;
          if (too_large || SteadyTime::Now() > end) return false;
          body.append(data, size);
          return true;
        });
    TakeReason();
    if (result) status = result->status;  // The receivers are not told of an answer without a body.
    if (too_large)
      return absl::UnavailableError(
          absl::StrCat("it answers more than ", options_.bytes_max, " bytes"));
    if (status != 0 && status != kOk) {
      const bool elsewhere = status / 100 == 3;
      return absl::UnavailableError(absl::StrCat(
          "it answers ", status,
          elsewhere ? ", and leads elsewhere: name the address where the keys are" : ""));
    }
    if (status == kOk && result.error() == httplib::Error::Canceled)
      return absl::UnavailableError("its answer takes too long");
    if (!result) return absl::UnavailableError(Reason(result.error()));
    return body;
  }

  // Any thread.
  void BreakOff() { client_.stop(); }

 private:
  const Options& options_;
  const std::string path_;
  httplib::SSLClient client_;
};

// Nothing: it is no such address.
std::optional<JwksSource::Address> JwksSource::ParseAddress(absl::string_view url) {
  url = absl::StripPrefix(url, kHttps);
  const bool is_plain = std::all_of(url.begin(), url.end(), [](char c) {
    return absl::ascii_isgraph(c) && c != '@' && c != '#' && c != '\\';
  });
  if (!is_plain) return std::nullopt;
  const std::size_t slash = std::min(url.find('/'), url.size());
  Address address{.port = kHttpsPort, .path = std::string(url.substr(slash))};
  if (address.path.empty()) address.path = "/";
  absl::string_view host = url.substr(0, slash);
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  if (colon != absl::string_view::npos && (bracket == absl::string_view::npos || colon > bracket)) {
    if (!absl::SimpleAtoi(host.substr(colon + 1), &address.port) || address.port < 1 ||
        address.port > 65535) {
      return std::nullopt;
    }
    host = host.substr(0, colon);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host.empty() || host.find_first_of("[]?") != absl::string_view::npos) return std::nullopt;
  address.host = std::string(host);
  return address;
}

absl::StatusOr<std::unique_ptr<JwksSource>> JwksSource::Start(Options options) {
  const std::string& location = options.location;
  const bool is_url = absl::StrContains(location, "://");
  std::optional<Address> address;
  if (absl::StartsWith(location, kHttps)) address = ParseAddress(location);
  if (location.empty() || (is_url && !address.has_value())) {
    return absl::InvalidArgumentError(
        absl::StrCat("`", location,
                     "` is no place for an issuer's keys: name a file, or an address "
                     "https://HOST[:PORT]/PATH without user and password."));
  }
  return std::unique_ptr<JwksSource>(new JwksSource(std::move(options), std::move(address)));
}

JwksSource::JwksSource(Options options, std::optional<Address> address)
    : options_(std::move(options)), address_(std::move(address)), thread_([this] { Run(); }) {}

JwksSource::~JwksSource() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    ends_ = true;
    changed_.notify_all();
    // Again and again: what is not connected yet cannot be broken off.
    while (!WaitAtMost(absl::Milliseconds(50), changed_, lock, [this] { return has_ended_; })) {
      const std::shared_ptr<Fetch> fetch = fetch_;
      lock.unlock();
      if (fetch != nullptr) fetch->BreakOff();
      lock.lock();
    }
  }
  thread_.join();
}

std::shared_ptr<const Jwks> JwksSource::Get() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return jwks_;
}

void JwksSource::LookForNewKeys() {
  const std::lock_guard<std::mutex> lock(mutex_);
  key_looked_for_ = true;
  changed_.notify_all();
}

void JwksSource::Refresh() {
  const std::lock_guard<std::mutex> lock(mutex_);
  wanted_now_ = true;
  changed_.notify_all();
}

std::string JwksSource::Trouble() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return trouble_;
}

SteadyTime JwksSource::last_good() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_good_;
}

int64_t JwksSource::attempts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return attempts_;
}

bool JwksSource::AwaitAttempts(int64_t times, absl::Duration patience) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return WaitAtMost(patience, changed_, lock, [&] { return attempts_ >= times; });
}

void JwksSource::Run() {
  while (AwaitNext()) {
    const absl::StatusOr<std::string> text = Read();
    const absl::Status taken = text.ok() ? Take(*text) : text.status();
    const std::lock_guard<std::mutex> lock(mutex_);
    trouble_ = std::string(taken.message());
    if (taken.ok()) last_good_ = SteadyTime::Now();
    ++attempts_;
    changed_.notify_all();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  has_ended_ = true;
  changed_.notify_all();
}

SteadyTime JwksSource::Due() const {
  if (wanted_now_) return SteadyTime::InfinitePast();
  if (!address_.has_value()) return last_attempt_ + options_.file_interval;
  const bool soon = key_looked_for_ || !trouble_.empty();
  return last_attempt_ + (soon ? options_.https_interval_min : options_.https_interval);
}

bool JwksSource::AwaitNext() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (ends_) return false;
    const SteadyTime due = Due();
    const SteadyTime now = SteadyTime::Now();
    if (now >= due) break;
    WaitAtMost(due - now, changed_, lock, [&] { return ends_ || Due() < due; });
  }
  last_attempt_ = SteadyTime::Now();
  wanted_now_ = key_looked_for_ = false;
  return true;
}

absl::StatusOr<std::string> JwksSource::Read() {
  if (address_.has_value()) return ReadAddress();
  absl::StatusOr<SmallFile> file = ReadSmallFile("key set", options_.location, options_.bytes_max);
  if (!file.ok()) return file.status();
  return std::move(file->text);
}

absl::StatusOr<std::string> JwksSource::ReadAddress() {
  const auto fetch = std::make_shared<Fetch>(options_, *address_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ends_) return absl::CancelledError();
    fetch_ = fetch;
  }
  absl::StatusOr<std::string> text = fetch->Run();
  const std::lock_guard<std::mutex> lock(mutex_);
  fetch_ = nullptr;
  if (text.ok()) return text;
  return absl::UnavailableError(absl::StrCat("The key set ", options_.location,
                                             " cannot be read: ", text.status().message(), "."));
}

absl::Status JwksSource::Take(const std::string& text) {
  if (text == text_) return absl::OkStatus();
  absl::StatusOr<Jwks> parsed = ParseJwks(text);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("The key set ", options_.location,
                                                   " cannot be used. ", parsed.status().message()));
  }
  text_ = text;
  auto jwks = std::make_shared<const Jwks>(*std::move(parsed));
  const std::lock_guard<std::mutex> lock(mutex_);
  jwks_ = std::move(jwks);
  return absl::OkStatus();
}

}  // namespace sessiond::identity
