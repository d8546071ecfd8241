// sessionctl: sessiond from the command line.
#include <fcntl.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cpp/steady_time.h"
#include "client/sessionctl/contexts.h"
#include "client/sessionctl/errors.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/run.h"

namespace sessiond::ctl {
namespace {

constexpr char kFooter[] = R"(Examples:
  sessionctl session create -w ticket_export --owner u1 --owner-name Ada --label team=a
  sessionctl session list --filter 'owner_id = "u1" AND state = "ACTIVE"'
  sessionctl session advance SESSION --to upload
  sessionctl session events SESSION
  sessionctl session watch --filter 'owner_id = "u1"'
  sessionctl task start SESSION processing --to processing
  sessionctl error list SESSION --filter 'severity = "BLOCKING" AND resolved = false'
  sessionctl import sessions.jsonl
  sessionctl call SessionService/GetSession -d '{"sessionId": "SESSION"}'
  sessionctl context set prod --server sessiond.example.com --tls-ca ca.pem --token-file token

The options above can be given after a command, too. Results go to stdout, all else to stderr.
NO_COLOR turns colours off.

Exit codes:
  0       it went well
  1       the result could not be written
  2       the command line was not understood; nothing was sent
  3       workflow validate, import: something is wrong with the data
  4       health: the answer is not SERVING
  64 + N  refused, or not answered, with gRPC code N: 69 not found, 73 not now,
          74 changed meanwhile, 78 unavailable)";

constexpr char kCommandFooter[] =
    "Options of every command, such as --server, --timeout and -o: sessionctl --help";

absl::Duration ParseTimeout(const std::string& text) {
  absl::Duration timeout;
  if (!absl::ParseDuration(text, &timeout) || timeout <= absl::ZeroDuration() ||
      timeout > absl::Hours(24)) {
    throw CLI::ValidationError("--timeout", absl::StrCat("\"", text,
                                                         "\" is not a duration of up to 24h; write "
                                                         "500ms or 10s"));
  }
  return timeout;
}

Format ParseFormat(const std::string& text) {
  if (text == "table") return Format::kTable;
  if (text == "json") return Format::kJson;
  if (text == "jsonl") return Format::kJsonLines;
  if (text == "name") return Format::kName;
  throw CLI::ValidationError("--output", absl::StrCat("there is no format \"", text,
                                                      "\", but table, json, jsonl and name"));
}

void AddGlobalOptions(CLI::App& app, Run& run) {
  app.set_help_flag("-h,--help", "Print this help and exit");
  for (const SettingKind& kind : kSettings) {
    const std::string name(kind.name);
    const auto set = [&run, name](const std::string& text) {
      run.typed.values[name] = text;
      if (name == "server") run.server = text;
    };
    if (*kind.value_name == '\0') {
      app.add_flag_callback(
          "--" + name, [set] { set("true"); }, kind.description);
    } else {
      app.add_option_function<std::string>("--" + name, set, kind.description)
          ->option_text(kind.value_name);
    }
  }
  app.add_option_function<std::string>(
         "--context", [&run](const std::string& name) { run.typed.context = name; },
         "The context to use, see sessionctl context --help (default: $SESSIOND_CONTEXT, else the "
         "one in use)")
      ->option_text("NAME");
  app.add_option_function<std::string>(
         "--timeout", [&run](const std::string& text) { run.timeout = ParseTimeout(text); },
         "How long to wait for an answer, retries included (default: 10s)")
      ->option_text("DURATION");
  app.add_option_function<std::string>(
         "-o,--output", [&run](const std::string& text) { run.format = ParseFormat(text); },
         "json and jsonl are Protobuf's JSON mapping, name is the ids alone (default: table)")
      ->option_text("table|json|jsonl|name");
  app.add_flag("-v,--verbose", run.verbose, "Say on stderr what is called, and what is retried");
}

std::vector<std::string> NamesOf(const CLI::App& app, bool options) {
  std::vector<std::string> names;
  if (options) {
    for (const CLI::App* level = &app; level != nullptr; level = level->get_parent()) {
      for (const CLI::Option* option : level->get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      }
    }
  } else {
    for (const CLI::App* command : app.get_subcommands({})) {
      names.push_back(command->get_name());
      names.insert(names.end(), command->get_aliases().begin(), command->get_aliases().end());
    }
  }
  return names;
}

// The innermost command that was recognised, and its full name.
std::pair<const CLI::App*, std::string> Innermost(const CLI::App& app) {
  const CLI::App* command = &app;
  std::string name = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    absl::StrAppend(&name, " ", command->get_name());
  }
  return {command, name};
}

int ExplainParseError(const CLI::App& app, const CLI::ParseError& error) {
  const auto [command, name] = Innermost(app);
  const std::string help = absl::StrCat("see ", name, " --help");
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (unknown.empty() || dynamic_cast<const CLI::ValidationError*>(&error) != nullptr) {
    if (dynamic_cast<const CLI::RequiredError*>(&error) == nullptr) {
      return ExplainUsage(error.what(), {help});
    }
    const std::vector<std::string> below = NamesOf(*command, /*options=*/false);
    return ExplainUsage(below.empty() ? absl::StrCat(name, ": ", error.what())
                                      : absl::StrCat(name, " what? ", absl::StrJoin(below, ", ")),
                        {help});
  }
  const std::string word = std::string(unknown.front().substr(0, unknown.front().find('=')));
  const bool option = absl::StartsWith(word, "-");
  const char* kind = option                                 ? "option"
                     : command->get_subcommands({}).empty() ? "argument"
                                                            : "command";
  std::vector<std::string> hints;
  if (const auto meant = DidYouMean(word, NamesOf(*command, option))) {
    hints.push_back(absl::StrCat("did you mean ", *meant, "?"));
  }
  hints.push_back(help);
  return ExplainUsage(absl::StrCat(name, " has no ", kind, " \"", word, "\""), hints);
}

int RunCommand(Run& run) {
  const Stopwatch watch;
  const absl::Status status = run.command(run);
  if (run.verbose) {
    absl::FPrintF(
        stderr, "%s at %s: %s after %s%s\n", run.command_name, Printable(run.server),
        status.ok() ? "OK" : absl::StatusCodeToString(status.code()),
        absl::FormatDuration(absl::Trunc(watch.elapsed(), absl::Microseconds(100))),
        run.request_id.empty() ? "" : absl::StrCat(", request id ", Printable(run.request_id)));
  }
  if (!status.ok()) return Explain(run, status);
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    absl::FPrintF(stderr, "error: the result could not be written to stdout\n");
    return kExitNoOutput;
  }
  return run.exit_code;
}

// Column widths are counted in characters, for which the C library must use UTF-8.
void ChooseLocale() {
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
}

int Main(int argc, char** argv) {
  ChooseLocale();
  // What gRPC says about connections is for those who look for a defect in it; people get
  // sentences.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  Run run;
  CLI::App app("sessionctl: sessiond from the command line", "sessionctl");
  app.get_formatter()->column_width(32);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(kCommandFooter);  // The commands inherit it.
  AddGlobalOptions(app, run);
  AddSessionCommands(app, run);
  AddTaskCommands(app, run);
  AddErrorCommands(app, run);
  AddMessageCommands(app, run);
  AddArtifactCommands(app, run);
  AddWorkflowCommands(app, run);
  AddAdminCommands(app, run);
  AddImportCommand(app, run);
  AddContextCommands(app, run);
  AddWhoamiCommand(app, run);
  AddCallCommand(app, run);
  AddHealthCommand(app, run);
  AddVersionCommand(app, run);
  AddCompletionCommand(app, run);
  app.footer(kFooter);

  if (argc > 1 && absl::string_view(argv[1]) == "__complete") {
    absl::PrintF("%s", Complete(app, {argv + 2, argv + argc}));
    return 0;
  }
  try {
    app.parse(argc, argv);
    return RunCommand(run);
  } catch (const CLI::CallForHelp&) {
    absl::PrintF("%s", absl::StrReplaceAll(app.help(), {{"\n\n\n", "\n\n"}}));
    return 0;
  } catch (const CLI::ParseError& error) {
    return ExplainParseError(app, error);
  }
}

// Who starts us may have closed standard input, output or error: a connection to the server would
// take its place, and get what is written there.
void OpenStandardDescriptors() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDWR);
  if (fd >= 0) close(fd);
}

}  // namespace

}  // namespace sessiond::ctl

int main(int argc, char** argv) {
  sessiond::ctl::OpenStandardDescriptors();
  // gRPC's threads may still shake hands when main() returns: OpenSSL is not cleaned up beneath
  // them.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  // Exceptions of the libraries also become a sentence, not a core dump.
  try {
    return sessiond::ctl::Main(argc, argv);
  } catch (const std::exception& error) {
    return sessiond::ctl::ExplainUsage(error.what(), {"nobody has thought of this: please report"});
  }
}
