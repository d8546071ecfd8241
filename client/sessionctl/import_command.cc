// `sessionctl import`: imports sessions of another system, from JSON lines or from the old
// applications' own PostgreSQL. docs/import.md describes both formats.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "client/legacy/exact_json.h"
#include "client/legacy/legacy_reader.h"
#include "client/sessionctl/errors.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/import_report.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/progress.h"
#include "client/sessionctl/run.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace sessiond::ctl {
namespace {

using Request = v1::ImportSessionsRequest;
using Response = v1::ImportSessionsResponse;

// The largest request that the daemon receives; a larger one would end the stream.
constexpr std::size_t kRequestBytesMax = 4 << 20;

// A session to be sent, or why it cannot be; and what was changed in it.
struct Item {
  Request request;
  Text problem;
  Text remark;
};

// A source of sessions.
class Source {
 public:
  virtual ~Source() = default;
  // The next one; nothing at the end. CANCELLED: given up in the meantime.
  virtual absl::StatusOr<std::optional<Item>> Next() = 0;
  // No more sessions are wanted. Any thread.
  virtual void GiveUp() {}
  // The number of sessions; 0 if unknown.
  virtual int64_t Total() = 0;
};

// The lines of a file, or of a pipe, which may be silent for any length of time.
class LineReader {
 public:
  explicit LineReader(const Text& path)
      : path_(path),
        file_(path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC)),
        given_up_(eventfd(0, EFD_CLOEXEC)) {}
  ~LineReader() {
    close(given_up_);
    if (file_ > STDIN_FILENO) close(file_);
  }
  LineReader(const LineReader&) = delete;

  bool readable() const {
    struct stat what;
    return fstat(file_, &what) == 0 && !S_ISDIR(what.st_mode);
  }
  // Makes Next fail, now and from then on. Any thread.
  void GiveUp() { eventfd_write(given_up_, 1); }

  // Whether there is another line.
  absl::StatusOr<bool> Next(Text* line) {
    for (std::size_t seen = 0;;) {
      const std::size_t end = buffer_.find('\n', begin_ + seen);
      if (end != Text::npos || (ended_ && begin_ < buffer_.size())) {
        *line = buffer_.substr(begin_, end == Text::npos ? end : end - begin_);
        begin_ = end == Text::npos ? buffer_.size() : end + 1;
        return true;
      }
      if (ended_) return false;
      buffer_.erase(0, std::exchange(begin_, 0));
      seen = buffer_.size();
      if (const absl::Status read = ReadMore(); !read.ok()) return read;
    }
  }

 private:
  absl::Status ReadMore() {
    pollfd fds[] = {{file_, POLLIN, 0}, {given_up_, POLLIN, 0}};
    poll(fds, 2, /*timeout=*/-1);
    if (fds[1].revents != 0) return absl::CancelledError("given up");
    constexpr std::size_t kChunk = 64 << 10;
    const std::size_t size = buffer_.size();
    buffer_.resize(size + kChunk);
    const ssize_t count = read(file_, buffer_.data() + size, kChunk);
    buffer_.resize(size + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    ended_ = count == 0;
    if (count < 0 && errno != EINTR)
      return absl::DataLossError(
          absl::StrCat("Cannot read on in ", path_, ": ", std::strerror(errno)));
    return absl::OkStatus();
  }

  const Text path_;
  const int file_;
  const int given_up_;
  Text buffer_;
  std::size_t begin_ = 0;  // The start of what was not taken yet.
  bool ended_ = false;
};

// One JSON object per line.
class JsonLines final : public Source {
 public:
  JsonLines(const Text& path, const Text& name_space)
      : name_space_(name_space), path_(path), lines_(path) {}
  bool readable() const { return lines_.readable(); }
  void GiveUp() override { lines_.GiveUp(); }

  absl::StatusOr<std::optional<Item>> Next() override {
    Text line;
    do {
      const absl::StatusOr<bool> more = lines_.Next(&line);
      if (!more.ok()) return more.status();
      if (!*more) return std::nullopt;
      if (++number_ == 1) {
        if (const Text why = WhyNotUtf8(line, path_); !why.empty())
          return absl::InvalidArgumentError(why);
        if (absl::StartsWith(line, "\xEF\xBB\xBF")) line.erase(0, 3);
      }
    } while (absl::StripAsciiWhitespace(line).empty());
    return Parse(line);
  }

  // A file is read once before the import: that is quick compared to it.
  int64_t Total() override {
    struct stat file;
    if (path_ == "-" || stat(path_.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return 0;
    LineReader lines(path_);
    int64_t total = 0;
    for (Text line; lines.Next(&line).value_or(false);) ++total;
    return total;
  }

 private:
  Item Parse(const Text& line) const {
    Item item;
    const absl::Status read = ReadExactJson(line, item.request);
    if (absl::IsFailedPrecondition(read)) {
      item.problem = absl::StrCat("The line is no session as JSON: ", read.message());
    } else if (!read.ok()) {
      item.problem = absl::StrCat("The line cannot be taken: ", read.message());
    } else if (!item.request.has_session()) {
      item.problem = "The line has no \"session\"";
    } else if (item.request.session().namespace_().empty()) {
      item.request.mutable_session()->set_namespace_(name_space_);
    }
    item.request.set_line(number_);
    return item;
  }

  const Text name_space_;
  const Text path_;
  LineReader lines_;
  int number_ = 0;
};

// The tables of an old application.
class LegacyTables final : public Source {
 public:
  explicit LegacyTables(std::unique_ptr<db::LegacyReader> reader) : reader_(std::move(reader)) {}

  absl::StatusOr<std::optional<Item>> Next() override {
    auto session = reader_->Next();
    if (!session.ok()) return session.status();
    if (!session->has_value()) return std::nullopt;
    Item item{std::move((*session)->request), absl::StrJoin((*session)->problems, "; "),
              absl::StrJoin((*session)->remarks, "; ")};
    item.request.set_line(++number_);
    return item;
  }
  int64_t Total() override { return reader_->total(); }

 private:
  std::unique_ptr<db::LegacyReader> reader_;
  int number_ = 0;
};

struct Import {
  Text path, url, layout, name_space, encoding, report;
};

db::LegacyLayout LayoutOf(const Text& layout) {
  return layout == "ticket_export" ? db::LegacyLayout::kTicketExport
         : layout == "execution"   ? db::LegacyLayout::kExecution
                                   : db::LegacyLayout::kInterview;
}

absl::StatusOr<std::unique_ptr<Source>> OpenSource(const Import& import) {
  if (import.url.empty()) {
    auto lines = std::make_unique<JsonLines>(import.path, import.name_space);
    if (!lines->readable()) {
      throw CLI::ValidationError("FILE", absl::StrCat("cannot read the file ", import.path));
    }
    return lines;
  }
  auto reader = db::LegacyReader::Open({.url = import.url,
                                        .layout = LayoutOf(import.layout),
                                        .session_namespace = import.name_space,
                                        .encoding = import.encoding});
  if (!reader.ok()) {
    return absl::Status(reader.status().code(),
                        absl::StrCat("The old database: ", reader.status().message()));
  }
  for (const Text& note : (*reader)->notes()) std::cerr << Printable(note) << ".\n";
  return std::make_unique<LegacyTables>(*std::move(reader));
}

// What the daemon would answer for a session that is not sent.
Response Refused(const Request& request, v1::ErrorReason reason, const Text& description) {
  Response response;
  response.set_line(request.line());
  response.set_session_id(request.session().session_id());
  response.set_result(Response::REFUSED);
  response.set_reason(v1::ErrorReason_Name(reason));
  response.set_description(description);
  return response;
}

// Sends one session after the other; those that cannot be sent go into the report.
class Sending {
 public:
  Sending(Source& source, ImportReport& report) : source_(source), report_(report) {}

  absl::StatusOr<std::optional<Request>> Next() {
    while (true) {
      auto item = source_.Next();
      if (!item.ok()) return item.status();
      if (!item->has_value()) return std::nullopt;
      Request& request = (*item)->request;
      if (!(*item)->problem.empty()) {
        report_.Add(Refused(request, v1::INVALID_FIELD, (*item)->problem));
      } else if (request.ByteSizeLong() > kRequestBytesMax) {
        report_.Add(
            Refused(request, v1::PAYLOAD_TOO_LARGE,
                    absl::StrCat("The session has ", WithCommas(request.ByteSizeLong()), " bytes; ",
                                 WithCommas(kRequestBytesMax), " can be sent")));
      } else if (const Line& first = FirstOf(request); first.content != ContentOf(request)) {
        report_.Add(Refused(request, v1::INVALID_FIELD,
                            absl::StrCat("The session stands twice, and not alike: also in line ",
                                         first.number, ", which is the one that is taken")));
      } else {
        if (!(*item)->remark.empty()) report_.Remark(request.line(), (*item)->remark);
        return std::move(request);
      }
    }
  }

 private:
  // The first line of a session. For its content and its id a hash, because there may be millions.
  struct Line {
    int32_t number = 0;
    std::size_t content = 0;
  };

  // Equal for two lines with the same content, whatever the order of their keys.
  static std::size_t ContentOf(Request request) {
    request.clear_line();
    std::string bytes;
    {
      google::protobuf::io::StringOutputStream stream(&bytes);
      google::protobuf::io::CodedOutputStream coded(&stream);
      coded.SetSerializationDeterministic(true);
      request.SerializeToCodedStream(&coded);
    }
    return absl::HashOf(bytes);
  }

  const Line& FirstOf(const Request& request) {
    const Text& id = request.session().session_id();
    // A session without an id is always a new one.
    const std::size_t key = id.empty() ? absl::HashOf(this, request.line()) : absl::HashOf(id);
    return lines_.try_emplace(key, Line{request.line(), ContentOf(request)}).first->second;
  }

  Source& source_;
  ImportReport& report_;
  absl::flat_hash_map<std::size_t, Line> lines_;
};

// During an import people prefer waiting for the daemon to starting again.
CallOptions PatientOptions(const Run& run, Progress& progress) {
  CallOptions options = run.Options();
  options.timeout = std::max(options.timeout, absl::Minutes(1));
  if (options.on_retry) {
    options.on_retry = [&progress, say = options.on_retry](const absl::Status& status,
                                                           absl::Duration pause) {
      progress.Clear();
      say(status, pause);
    };
  }
  return options;
}

bool IsSameFile(const Text& one, const Text& other) {
  std::error_code error;  // One that is not there is another.
  return std::filesystem::is_regular_file(other, error) &&
         std::filesystem::equivalent(one, other, error);
}

absl::Status ImportAll(Run& run, const Import& import) {
  if (import.path.empty() == import.url.empty()) {
    throw CLI::ValidationError("import",
                               "from where? Give a FILE, or --from-postgres and --layout");
  }
  auto source = OpenSource(import);
  if (!source.ok()) return source.status();
  if (IsSameFile(import.path == "-" ? "/dev/stdin" : import.path, import.report))
    throw CLI::ValidationError("--report", "is the file that is imported; name another");
  ImportReport report(run.format, import.report);
  if (!report.writable()) {
    throw CLI::ValidationError("--report", absl::StrCat("cannot write the file ", import.report));
  }
  auto channel = run.Connect();
  if (!channel.ok()) return channel.status();
  Progress progress(run.format, "importing", (*source)->Total());
  const AdminClient client(std::shared_ptr<grpc::ChannelInterface>(*std::move(channel)),
                           PatientOptions(run, progress));
  Sending sending(**source, report);
  const absl::Status status = client.ImportSessions([&] { return sending.Next(); },
                                                    [&](const Response& response) {
                                                      report.Add(response);
                                                      progress.Reach(report.done());
                                                    },
                                                    [&] { (*source)->GiveUp(); });
  progress.Clear();
  if (!status.ok()) {
    std::cerr << "Not finished. Run it again: what was taken is there already.\n";
    if (run.format == Format::kTable) report.Print();
    return status;
  }
  report.Print();
  if (!report.all_taken()) run.exit_code = kExitNotTaken;
  if (!report.written()) {
    std::cerr << "Not all of the report could be written to " << Printable(import.report)
              << ". Run the import again for it: what was taken is there already.\n";
    run.exit_code = kExitNoOutput;
  }
  return absl::OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App& parent, Run& run) {
  auto import = std::make_shared<Import>();
  CLI::App& app = *AddCommand(parent, run, "import",
                              "Take existing sessions in, from JSON lines or from old tables",
                              [import](Run& run) { return ImportAll(run, *import); });
  app.footer(absl::StrCat(
      "A daemon that goes away is waited for, a minute or --timeout. After whatever else went\n"
      "wrong, run it again: what is there already is left as it is, and gets what it lacks. Exits\n"
      "with 3 when something was refused, or is not as it was, and with 1 when the report could\n"
      "not be written. docs/import.md shows what lines and tables look like.\n\n",
      app.get_footer()));
  app.add_option("FILE", import->path, "JSON lines, a session each; - for stdin")->option_text("");
  CLI::Option* url =
      app.add_option("--from-postgres", import->url, "The database of an old application instead")
          ->option_text("URL");
  CLI::Option* layout = app.add_option("--layout", import->layout, "What its tables look like")
                            ->option_text("ticket_export|execution|interview")
                            ->check(CLI::IsMember({"ticket_export", "execution", "interview"}));
  url->needs(layout);
  layout->needs(url);
  app.add_option("--encoding", import->encoding,
                 "What the bytes of a database without an encoding (SQL_ASCII) are (default: UTF8)")
      ->option_text("NAME")
      ->needs(url);
  app.add_option("-n,--namespace", import->name_space,
                 "The namespace of sessions that do not say theirs (default: default)")
      ->option_text("NAME");
  app.add_option("--report", import->report,
                 "Where to write each session that was not taken, or not as it was, and why: JSON "
                 "lines")
      ->option_text("FILE");
}

}  // namespace sessiond::ctl
