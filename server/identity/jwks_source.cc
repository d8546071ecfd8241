#include "server/identity/jwks_source.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/files/small_file.h"
#include "server/identity/openssl.h"

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

struct Address {
  std::string host;
  int port = 0;
  std::string path;
};

// The threads that have not ended yet. Never destroyed, because they may outlive everything else.
class Threads {
 public:
  static Threads& All() {
    static Threads& all = *new Threads;
    return all;
  }
  void Begin() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++running_;
  }
  void End() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --running_;
    ended_.notify_all();
  }
  bool Await(absl::Duration patience) {
    std::unique_lock<std::mutex> lock(mutex_);
    return WaitAtMost(patience, ended_, lock, [this] { return running_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  int running_ = 0;
};

// One request, which another thread may break off.
class Fetch {
 public:
  Fetch(const JwksSource::Options& options, const Address& address)
      : options_(options), path_(address.path), client_(address.host, address.port) {
    const auto timeout = absl::ToChronoMicroseconds(options.timeout);
    client_.set_connection_timeout(timeout);
    client_.set_read_timeout(timeout);
    client_.set_write_timeout(timeout);
    client_.set_follow_location(false);
    client_.set_decompress(false);
    client_.enable_server_certificate_verification(true);
    if (!options.ca_file.empty()) client_.set_ca_cert_path(options.ca_file);
    client_.set_socket_options([this](socket_t socket) { TakeSocket(socket); });
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

  ~Fetch() {
    if (socket_ >= 0) close(socket_);
  }
  Fetch(const Fetch&) = delete;

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
          return status == kOk && !broken_off_;
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

  // Any thread, never waits, as the client's own stop does.
  void BreakOff() {
    broken_off_ = true;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (socket_ >= 0) shutdown(socket_, SHUT_RD);
  }

 private:
  // A descriptor of our own, which names this socket and no other for as long as we like.
  void TakeSocket(int socket) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (socket_ >= 0) close(socket_);
    socket_ = fcntl(socket, F_DUPFD_CLOEXEC, 0);
  }

  const JwksSource::Options& options_;
  const std::string path_;
  std::atomic<bool> broken_off_ = false;
  std::mutex mutex_;
  int socket_ = -1;
  httplib::SSLClient client_;
};

// Nothing: it is no such address.
std::optional<Address> ParseAddress(absl::string_view url) {
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

}  // namespace

class JwksSource::Reader {
 public:
  Reader(Options options, std::optional<Address> address)
      : options_(std::move(options)), address_(std::move(address)) {}

  // On a thread of its own, until the end.
  void Run();
  void End();

  std::shared_ptr<const Jwks> Get() const;
  void LookForNewKeys();
  void Refresh();
  std::string Trouble() const;
  int64_t attempts() const;
  bool AwaitAttempts(int64_t times, absl::Duration patience) const;

 private:
  // Until the next attempt is due, or the end; returns whether it is due.
  bool AwaitNext();
  // REQUIRES: in the mutex.
  SteadyTime Due() const;
  // The text of the keys; else a sentence.
  absl::StatusOr<std::string> Read();
  absl::StatusOr<std::string> ReadAddress();
  absl::Status Take(const std::string& text);

  const Options options_;
  // None: the location is a file.
  const std::optional<Address> address_;

  // Its thread only: what the keys were parsed from.
  std::string text_;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::shared_ptr<const Jwks> jwks_ = std::make_shared<const Jwks>();
  std::string trouble_;
  SteadyTime last_attempt_;
  int64_t attempts_ = 0;
  bool ends_ = false;
  bool wanted_now_ = true;
  bool key_looked_for_ = false;
  std::shared_ptr<Fetch> fetch_;
};

absl::StatusOr<std::unique_ptr<JwksSource>> JwksSource::Start(Options options) {
  const std::string location = options.location;
  const bool is_url = absl::StrContains(location, "://");
  std::optional<Address> address;
  if (absl::StartsWith(location, kHttps)) address = ParseAddress(location);
  if (location.empty() || (is_url && !address.has_value())) {
    return absl::InvalidArgumentError(
        absl::StrCat("`", location,
                     "` is no place for an issuer's keys: name a file, or an address "
                     "https://HOST[:PORT]/PATH without user and password."));
  }
  auto reader = std::make_shared<Reader>(std::move(options), std::move(address));
  Threads::All().Begin();
  try {
    std::thread([reader]() mutable {
      reader->Run();
      reader.reset();
      Threads::All().End();
    }).detach();
  } catch (const std::system_error& error) {  // For example, a limit of processes.
    Threads::All().End();
    return absl::ResourceExhaustedError(
        absl::StrCat("There is no thread to read `", location, "` with: ", error.what(), "."));
  }
  return std::unique_ptr<JwksSource>(new JwksSource(std::move(reader)));
}

JwksSource::JwksSource(std::shared_ptr<Reader> reader) : reader_(std::move(reader)) {}

JwksSource::~JwksSource() { reader_->End(); }

bool JwksSource::AwaitEnded(absl::Duration patience) { return Threads::All().Await(patience); }

std::shared_ptr<const Jwks> JwksSource::Get() const { return reader_->Get(); }
void JwksSource::LookForNewKeys() { reader_->LookForNewKeys(); }
void JwksSource::Refresh() { reader_->Refresh(); }
std::string JwksSource::Trouble() const { return reader_->Trouble(); }
int64_t JwksSource::attempts() const { return reader_->attempts(); }
bool JwksSource::AwaitAttempts(int64_t times, absl::Duration patience) const {
  return reader_->AwaitAttempts(times, patience);
}

// -------------------------------------------------------------------------------------------------
// on the thread

std::shared_ptr<const Jwks> JwksSource::Reader::Get() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return jwks_;
}

void JwksSource::Reader::LookForNewKeys() {
  const std::lock_guard<std::mutex> lock(mutex_);
  key_looked_for_ = true;
  changed_.notify_all();
}

void JwksSource::Reader::Refresh() {
  const std::lock_guard<std::mutex> lock(mutex_);
  wanted_now_ = true;
  changed_.notify_all();
}

std::string JwksSource::Reader::Trouble() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return trouble_;
}

int64_t JwksSource::Reader::attempts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return attempts_;
}

bool JwksSource::Reader::AwaitAttempts(int64_t times, absl::Duration patience) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return WaitAtMost(patience, changed_, lock, [&] { return attempts_ >= times; });
}

void JwksSource::Reader::Run() {
  while (AwaitNext()) {
    const absl::StatusOr<std::string> text = Read();
    const absl::Status taken = text.ok() ? Take(*text) : text.status();
    const std::lock_guard<std::mutex> lock(mutex_);
    trouble_ = std::string(taken.message());
    ++attempts_;
    changed_.notify_all();
  }
}

void JwksSource::Reader::End() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ends_ = true;
  changed_.notify_all();
  if (fetch_ != nullptr) fetch_->BreakOff();
}

SteadyTime JwksSource::Reader::Due() const {
  if (wanted_now_) return SteadyTime::InfinitePast();
  if (!address_.has_value()) return last_attempt_ + options_.file_interval;
  const bool soon = key_looked_for_ || !trouble_.empty();
  return last_attempt_ + (soon ? options_.https_interval_min : options_.https_interval);
}

bool JwksSource::Reader::AwaitNext() {
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

absl::StatusOr<std::string> JwksSource::Reader::Read() {
  if (address_.has_value()) return ReadAddress();
  absl::StatusOr<SmallFile> file = ReadSmallFile("key set", options_.location, options_.bytes_max);
  if (!file.ok()) return file.status();
  return std::move(file->text);
}

absl::StatusOr<std::string> JwksSource::Reader::ReadAddress() {
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

absl::Status JwksSource::Reader::Take(const std::string& text) {
  if (text == text_) return absl::OkStatus();
  absl::StatusOr<Jwks> parsed = ParseJwks(WithoutByteOrderMark(text));
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
