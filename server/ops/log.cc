#include "server/ops/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/steady_time.h"
#include "server/ops/log_writer.h"
#include "state_machine/utf8.h"

namespace sessiond {
namespace {

constexpr std::size_t kMessageBytesMax = 4096;
constexpr std::size_t kValueBytesMax = 256;
constexpr std::size_t kFreeTextBytesMax = 200;

// How long the last lines may take to be written before a defect ends the process.
constexpr absl::Duration kFatalPatience = absl::Seconds(1);

enum class Format { kText, kJson };

// -------------------------------------------------------------------------------------- escaping

// Whether a character could end a line, move the cursor, turn the reading direction or hide: C0,
// DEL, C1, and the invisible formatting characters (zero width, line and paragraph separators, bidi
// controls, byte order mark).
bool Deceives(char32_t c) {
  return IsControl(c) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xE0000 && c <= 0xE007F);
}

void AppendEscape(std::string& out, char32_t c) {
  switch (c) {
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (c < 0x10000) {
    absl::StrAppendFormat(&out, "\\u%04x", static_cast<unsigned>(c));
  } else {
    const unsigned offset = static_cast<unsigned>(c) - 0x10000;
    absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xD800 + (offset >> 10),
                          0xDC00 + (offset & 0x3FF));
  }
}

// How many bytes at the beginning of `text` are printable ASCII that needs no escape: nearly
// everything that is logged.
std::size_t PlainBytes(absl::string_view text, bool quoted) {
  std::size_t length = 0;
  while (length < text.size()) {
    const char c = text[length];
    if (c < 0x20 || c > 0x7E || (quoted && (c == '"' || c == '\\'))) break;
    ++length;
  }
  return length;
}

// Appends `text`, cut at `bytes_max` of its own bytes, with all deceptive characters escaped.
// `quoted`: it will be inside double quotes, so quotes and backslashes are escaped too, as in JSON.
void AppendEscaped(std::string& out, absl::string_view text, std::size_t bytes_max, Format format,
                   bool quoted) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t plain = PlainBytes(text.substr(at, bytes_max - at), quoted);
    out.append(text.data() + at, plain);
    at += plain;
    if (at == text.size()) return;
    const Utf8Character next = FirstCharacter(text.substr(at));
    const bool valid = next.bytes > 0;
    const std::size_t bytes = valid ? next.bytes : 1;
    if (at + bytes > bytes_max) {
      out += "…";
      return;
    }
    if (!valid && format == Format::kJson) {
      out += "\\ufffd";
    } else if (!valid) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[at]));
    } else if (Deceives(next.code_point)) {
      AppendEscape(out, next.code_point);
    } else {
      if (quoted && (text[at] == '"' || text[at] == '\\')) out += '\\';
      absl::StrAppend(&out, text.substr(at, bytes));
    }
    at += bytes;
  }
}

// ----------------------------------------------------------------------------------------- lines

// The fields of the event being written. spdlog's messages have none, and the formatter runs on the
// thread that logs.
thread_local absl::Span<const LogField> current_fields;

struct Level {
  absl::string_view name;
  // As wide as the widest.
  absl::string_view padded;
  absl::string_view colour;
};
// In the order of LogLevel, and of spdlog from `debug` on.
constexpr Level kLevels[] = {{"debug", "DEBUG", "\033[2m"},
                             {"info", "INFO ", "\033[32m"},
                             {"warn", "WARN ", "\033[33m"},
                             {"error", "ERROR", "\033[31m"}};

// What is below our lowest level, or above our highest, counts as that.
const Level& LevelOf(spdlog::level::level_enum level) {
  return kLevels[std::clamp<int>(level, spdlog::level::debug, spdlog::level::err) -
                 spdlog::level::debug];
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  return static_cast<spdlog::level::level_enum>(spdlog::level::debug + static_cast<int>(level));
}
static_assert(spdlog::level::debug + static_cast<int>(LogLevel::kError) == spdlog::level::err);

spdlog::level::level_enum ParseLevel(absl::string_view name) {
  const auto* level = std::find_if(std::begin(kLevels), std::end(kLevels),
                                   [name](const Level& each) { return each.name == name; });
  if (level == std::end(kLevels)) return spdlog::level::info;
  return ToSpdlog(static_cast<LogLevel>(level - std::begin(kLevels)));
}

absl::string_view View(spdlog::string_view_t text) { return {text.data(), text.size()}; }

class LineFormatter final : public spdlog::formatter {
 public:
  LineFormatter(Format format, bool colour) : format_(format), colour_(colour) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& dest) override {
    const std::string line = format_ == Format::kJson ? Json(message) : Text(message);
    dest.append(line.data(), line.data() + line.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_, colour_);
  }

 private:
  std::string Json(const spdlog::details::log_msg& message) {
    const absl::Time time = absl::FromChrono(message.time);
    std::string line = absl::StrCat(
        "{\"time\":\"", Second(time), ".", absl::Dec(Microseconds(time), absl::kZeroPad6),
        "Z\",\"level\":\"", LevelOf(message.level).name, "\",\"logger\":");
    AppendQuoted(line, View(message.logger_name), Format::kJson, kValueBytesMax);
    line += ",\"msg\":";
    AppendQuoted(line, View(message.payload), Format::kJson, kMessageBytesMax);
    for (const LogField& field : current_fields) {
      line += ',';
      AppendQuoted(line, field.name, Format::kJson, kValueBytesMax);
      line += ':';
      AppendValue(line, field.value, Format::kJson);
    }
    line += "}\n";
    return line;
  }

  std::string Text(const spdlog::details::log_msg& message) {
    const absl::Time time = absl::FromChrono(message.time);
    std::string line =
        absl::StrCat(Second(time), ".", absl::Dec(Microseconds(time) / 1000, absl::kZeroPad3), " ",
                     colour_ ? LevelOf(message.level).colour : "", LevelOf(message.level).padded,
                     colour_ ? "\033[0m " : " ");
    const std::size_t name_begin = line.size();
    AppendBare(line, View(message.logger_name));
    line.resize(std::max(line.size(), name_begin + kNameColumns), ' ');
    line += ' ';
    AppendEscaped(line, View(message.payload), kMessageBytesMax, Format::kText, /*quoted=*/false);
    for (const LogField& field : current_fields) {
      line += &field == current_fields.data() ? "  " : " ";
      AppendBare(line, field.name);
      line += '=';
      AppendValue(line, field.value, Format::kText);
    }
    line += '\n';
    return line;
  }

  // The second of a line, as text; mostly the cached text of the last line, because formatting it
  // takes longer than all the rest.
  const std::string& Second(absl::Time time) {
    const int64_t second = absl::ToUnixSeconds(time);
    if (second != second_) {
      second_ = second;
      second_text_ = format_ == Format::kJson
                         ? absl::FormatTime("%Y-%m-%d%ET%H:%M:%S", time, absl::UTCTimeZone())
                         : absl::FormatTime("%H:%M:%S", time, absl::LocalTimeZone());
    }
    return second_text_;
  }

  static int64_t Microseconds(absl::Time time) { return absl::ToUnixMicros(time) % 1'000'000; }

  static void AppendBare(std::string& line, absl::string_view text) {
    AppendEscaped(line, text, kValueBytesMax, Format::kText, /*quoted=*/false);
  }

  static void AppendQuoted(std::string& line, absl::string_view text, Format format,
                           std::size_t bytes_max) {
    line += '"';
    AppendEscaped(line, text, bytes_max, format, /*quoted=*/true);
    line += '"';
  }

  static void AppendValue(std::string& line, const LogField::Value& value, Format format) {
    if (const auto* flag = std::get_if<bool>(&value)) {
      line += *flag ? "true" : "false";
    } else if (const auto* integer = std::get_if<int64_t>(&value)) {
      absl::StrAppend(&line, *integer);
    } else if (const auto* number = std::get_if<double>(&value)) {
      line += std::isfinite(*number) ? absl::StrFormat("%.6g", *number) : "null";
    } else {
      const absl::string_view text = std::get<absl::string_view>(value);
      const bool bare = format == Format::kText && !text.empty() &&
                        text.find_first_of(" =\"\\") == absl::string_view::npos;
      if (bare) {
        AppendBare(line, text);
      } else {
        AppendQuoted(line, text, format, kValueBytesMax);
      }
    }
  }

  static constexpr std::size_t kNameColumns = 8;

  const Format format_;
  const bool colour_;
  // Guarded by the sink's lock, which is held while formatting.
  int64_t second_ = -1;
  std::string second_text_;
};

std::string DroppedLine(LineFormatter& formatter, int64_t lines) {
  const LogField fields[] = {{"lines", lines}};
  current_fields = fields;
  spdlog::memory_buf_t line;
  const spdlog::details::log_msg message({}, "log", spdlog::level::warn,
                                         "lines were dropped: nobody read them in time");
  formatter.format(message, line);
  current_fields = {};
  return {line.data(), line.size()};
}

// ------------------------------------------------------------------------------------ repetition

// Counts repeated errors. The table is small: only errors are counted, and a daemon has few kinds
// of them.
class Repetitions {
 public:
  // How many were suppressed since the last one was written; -1: suppress this one too.
  int Admit(absl::string_view logger, absl::string_view message) {
    const SteadyTime now = SteadyTime::Now();
    absl::MutexLock lock(&mutex_);
    if (windows_.size() >= kKindsMax) windows_.clear();
    Window& window = windows_[absl::StrCat(logger, "\n", message)];
    if (now - window.begin >= kWindow) {
      const int suppressed = std::max(0, window.count - kLinesPerWindow);
      window = {now, 1};
      return suppressed;
    }
    return ++window.count <= kLinesPerWindow ? 0 : -1;
  }

 private:
  static constexpr int kLinesPerWindow = 10;
  static constexpr absl::Duration kWindow = absl::Seconds(10);
  static constexpr std::size_t kKindsMax = 256;

  struct Window {
    SteadyTime begin;
    int count = 0;
  };
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Window> windows_ ABSL_GUARDED_BY(mutex_);
};

// --------------------------------------------------------------------------------------- loggers

// Formats under its lock, on the thread that logs, and hands each line on.
class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LineSink(std::function<void(absl::string_view line)> take) : take_(std::move(take)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    take_({line.data(), line.size()});
  }
  void flush_() override {}

 private:
  const std::function<void(absl::string_view line)> take_;
};

// Set once, and never freed: lines may come until the very end.
std::atomic<LogWriter*> log_writer = nullptr;

// A defect ends the process by a signal, before the last lines are written.
void OnFatalSignal(int signal) {
  AwaitLogWritten(kFatalPatience);
  raise(signal);  // This ends the process, as the signal is no longer caught.
}

// Unless another handler, for example a sanitizer's, is installed.
void CatchFatalSignals() {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    struct sigaction action = {};
    if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) continue;
    action.sa_handler = OnFatalSignal;
    action.sa_flags = SA_RESETHAND;
    sigaction(signal, &action, nullptr);
  }
}

// gRPC's errors are mostly caused by a peer: a broken connection, a compressed message.
void GrpcLine(gpr_log_func_args* args) {
  const LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kWarn
                         : args->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                   : LogLevel::kDebug;
  Log(level, "grpc", args->message, {{"file", args->file}, {"line", args->line}});
}

// Protobuf's errors are mostly a caller's invalid bytes: the caller gets a refusal, and here it is
// information, not an alarm. Its fatal errors end the daemon.
void ProtobufLine(google::protobuf::LogLevel level, const char* file, int line,
                  const std::string& message) {
  Log(level == google::protobuf::LOGLEVEL_FATAL ? LogLevel::kError : LogLevel::kInfo, "protobuf",
      message, {{"file", file}, {"line", line}});
}

void Install(const LogOptions& options, Format format, bool colour, spdlog::sink_ptr sink) {
  sink->set_formatter(std::make_unique<LineFormatter>(format, colour));
  auto logger = std::make_shared<spdlog::logger>("sessiond", std::move(sink));
  logger->set_level(ParseLevel(options.level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(GrpcLine);
  google::protobuf::SetLogHandler(ProtobufLine);
}

}  // namespace

bool LogEnabled(LogLevel level, absl::string_view logger) {
  return logger == "audit" || spdlog::default_logger_raw()->should_log(ToSpdlog(level));
}

void Log(LogLevel level, absl::string_view logger, absl::string_view message,
         std::initializer_list<LogField> fields) {
  static Repetitions& repetitions = *new Repetitions;
  if (!LogEnabled(level, logger)) return;
  std::vector<LogField> all(fields);
  if (level == LogLevel::kError) {
    const int suppressed = repetitions.Admit(logger, message);
    if (suppressed < 0) return;
    if (suppressed > 0) all.emplace_back("suppressed", suppressed);
  }
  // Straight to the sinks: a logger object for each name would add nothing.
  spdlog::details::log_msg line({}, spdlog::string_view_t(logger.data(), logger.size()),
                                ToSpdlog(level),
                                spdlog::string_view_t(message.data(), message.size()));
  current_fields = all;
  for (const spdlog::sink_ptr& sink : spdlog::default_logger_raw()->sinks()) {
    sink->log(line);
  }
  current_fields = {};
}

std::string FreeText(absl::string_view text) {
  std::string out;
  AppendEscaped(out, text, kFreeTextBytesMax, Format::kText, /*quoted=*/false);
  return out;
}

std::string TerminalText(absl::string_view text) {
  std::string out;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.data() != text.data()) out += '\n';
    AppendEscaped(out, line, absl::string_view::npos, Format::kText, /*quoted=*/false);
  }
  return out;
}

void SetUpLogging(const LogOptions& options) {
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const bool text = options.format == "text" || (options.format == "auto" && terminal);
  const char* const no_color = std::getenv("NO_COLOR");  // Empty: as not set (no-color.org).
  const bool colour = text && terminal && (no_color == nullptr || *no_color == '\0');
  const Format format = text ? Format::kText : Format::kJson;
  // For the writer's thread only: a formatter belongs to one thread.
  auto formatter = std::make_shared<LineFormatter>(format, colour);
  log_writer = new LogWriter({.descriptor = STDERR_FILENO, .dropped_line = [formatter](int64_t n) {
                                return DroppedLine(*formatter, n);
                              }});
  // Writing is left to the writer's thread.
  Install(options, format, colour, std::make_shared<LineSink>([](absl::string_view line) {
            log_writer.load()->Add(std::string(line));
          }));
  CatchFatalSignals();
}

bool AwaitLogWritten(absl::Duration patience) {
  const LogWriter* writer = log_writer;
  return writer == nullptr || writer->AwaitWritten(patience);
}

int64_t LogLinesDropped() {
  const LogWriter* writer = log_writer;
  return writer == nullptr ? 0 : writer->dropped();
}

int64_t LogLinesWaiting() {
  const LogWriter* writer = log_writer;
  return writer == nullptr ? 0 : writer->waiting();
}

void SetUpLoggingForTest(const LogOptions& options, std::string* lines) {
  Install(options, options.format == "json" ? Format::kJson : Format::kText, /*colour=*/false,
          std::make_shared<LineSink>(
              [lines](absl::string_view line) { absl::StrAppend(lines, line); }));
}

}  // namespace sessiond
