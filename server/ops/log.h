// The daemon's log: one event a line, on stderr, with fields. On a terminal a line is read by
// people, elsewhere it is one JSON object read by machines:
//
//   21:17:02.114 INFO  rpc      finished call  grpc.method=CreateSession duration_ms=1.8
//   {"time":"2026-11-20T21:17:02.114530Z","level":"info","logger":"rpc","msg":"finished call",…}
//
// Logging never blocks: a thread of its own writes. If the reader is too slow, lines are dropped
// and counted, and the count is logged.
//
// Any text, from callers, from PostgreSQL or from gRPC, stays on one line: control characters, bidi
// controls and broken UTF-8 are escaped here, in one place, also for code that calls spdlog
// directly.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace sessiond {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// A named value of an event. Text is cut at 256 bytes and not copied: it must live until Log
// returns.
struct LogField {
  using Value = std::variant<bool, int64_t, double, absl::string_view>;

  LogField(absl::string_view name, absl::string_view text) : name(name), value(text) {}
  LogField(absl::string_view name, const std::string& text)
      : LogField(name, absl::string_view(text)) {}
  LogField(absl::string_view name, const char* text) : LogField(name, absl::string_view(text)) {}
  template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
  LogField(absl::string_view name, Number number) : name(name), value(Widen(number)) {}

  absl::string_view name;
  Value value;

 private:
  template <class Number>
  static Value Widen(Number number) {
    if constexpr (std::is_same_v<Number, bool>) {
      return number;
    } else if constexpr (std::is_integral_v<Number>) {
      return static_cast<int64_t>(number);
    } else {
      return static_cast<double>(number);
    }
  }
};

// Writes one event. `logger` is a short lower-case name ("rpc", "db", "audit"); events of "audit"
// are written at every level. `message` is cut at 4 KiB. Repeated errors, by logger and message,
// are written ten times in ten seconds and then counted: the next one written says how many were
// `suppressed`. Any thread.
void Log(LogLevel level, absl::string_view logger, absl::string_view message,
         std::initializer_list<LogField> fields = {});

// Whether Log would write such an event: to be asked before building an expensive one.
bool LogEnabled(LogLevel level, absl::string_view logger);

// Foreign text for use in a sentence: escaped, and cut at 200 bytes.
std::string FreeText(absl::string_view text);

// Escapes each line in the same way, without cutting: for output on a terminal in addition to the
// log.
std::string TerminalText(absl::string_view text);

struct LogOptions {
  // debug, info, warn or error.
  std::string level = "info";
  // auto (text on a terminal, json otherwise), text or json.
  std::string format = "auto";
};

// Sets spdlog up, and routes gRPC's and Protobuf's own lines into it (as `grpc` and `protobuf`).
// From then on logging never waits for the reader (log_writer.h). Called once, before other threads
// run. Before it, Log writes as spdlog does by default.
void SetUpLogging(const LogOptions& options);

// Before the process ends: waits until all logged lines are written, and returns whether that
// happened within `patience`. Async-signal-safe.
bool AwaitLogWritten(absl::Duration patience = absl::Seconds(1));

// Lines that were dropped so far, and lines that wait to be written.
int64_t LogLinesDropped();
int64_t LogLinesWaiting();

// The same into a string that lives for ever, without colours; for tests.
void SetUpLoggingForTest(const LogOptions& options, std::string* lines);

}  // namespace sessiond
