// sessiond's command line. All options are in one table (config.h); this file gives them to every
// command, and turns a command's errors into one sentence and an exit code: 0 success, 1 failure, 2
// usage.
#include <fcntl.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "db/connection/conninfo.h"
#include "db/connection/postgres_variables.h"
#include "db/connection/sql_error.h"
#include "db/postgres/migrate.h"
#include "db/postgres/postgres_supervisor.h"
#include "server/access_commands.h"
#include "server/config/config.h"
#include "server/daemon.h"
#include "server/doctor.h"
#include "server/ops/log.h"
#include "server/ops/log_writer.h"
#include "server/option_checks.h"
#include "server/stop_signals.h"

namespace sessiond {
namespace {

constexpr int kOk = 0;
constexpr int kInTheWay = 1;
constexpr int kUsage = 2;

constexpr char kGrantTo[] = "--grant-to";

int Complain(const absl::Status& status, int code = kInTheWay) {
  AwaitLogWritten();  // The lines that led to it come first.
  TellWithin(STDERR_FILENO, absl::StrCat("sessiond: ", TerminalText(ToldToOperator(status)), "\n"));
  return code;
}

// -------------------------------------------------------------------------------------- commands

// What a command gets: the configuration, and the supervisor of PostgreSQL (null with --db-url).
struct Context {
  const EffectiveConfig& effective;
  db::PostgresSupervisor* supervisor;
  StopSignals& stop_signals;
  // migrate up's --grant-to.
  const std::optional<std::string>& grant_to;

  const Config& config() const { return effective.config; }
};

int Serve(const Context& context) {
  for (const std::string& warning : context.effective.warnings) {
    Log(LogLevel::kWarn, "config", warning);
  }
  StopSignals& signals = context.stop_signals;
  signals.LeaveWith(kOk);  // A start has nothing to lose.
  auto daemon = Daemon::Start(context.config(), context.supervisor, signals.token());
  if (!daemon.ok() && signals.first() != 0) {
    Log(LogLevel::kInfo, "daemon", "asked to stop before it had started");
    return kOk;
  }
  if (!daemon.ok()) return Complain(daemon.status());
  signals.TakeTime();
  TellWithin(STDOUT_FILENO, (*daemon)->Banner());
  sd_notify(0, "READY=1\nSTATUS=serving");
  signals.Await([&daemon] { return (*daemon)->Reload(); });
  sd_notify(0, "STOPPING=1\nSTATUS=draining");
  (*daemon)->Drain();
  return (*daemon)->exit_code();
}

int MigrateStatus(const Context& context) {
  const auto database =
      OpenDatabase(context.config(), context.supervisor, context.stop_signals.token());
  if (!database.ok()) return Complain(database.status());
  const auto status = db::GetMigrationStatus(database->dsn);
  if (!status.ok()) return Complain(status.status());
  for (const db::AppliedMigration& each : status->applied) {
    absl::PrintF("%04d  %-30s  applied %s\n", each.version, each.name,
                 absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", each.applied_at, absl::UTCTimeZone()));
  }
  for (const auto& each : status->pending)
    absl::PrintF("%04d  %-30s  pending\n", each.version, each.name);
  if (!status->pending.empty())
    absl::FPrintF(stderr, "Apply what is pending with: sessiond migrate up\n");
  return kOk;
}

int Grant(const std::string& dsn, const std::string& role) {
  const auto report = db::GrantRights(dsn, role);
  if (!report.ok()) return Complain(report.status());
  const std::string name = TerminalText(report->role);
  for (const std::string& each : report->revoked)
    absl::PrintF("revoked from %s: %s\n", name, TerminalText(each));
  for (const std::string& each : report->granted)
    absl::PrintF("granted to %s: %s\n", name, TerminalText(each));
  for (const std::string& each : report->notes)
    absl::FPrintF(stderr, "sessiond: %s\n", TerminalText(each));
  return kOk;
}

int MigrateUp(const Context& context) {
  const auto database =
      OpenDatabase(context.config(), context.supervisor, context.stop_signals.token());
  if (!database.ok()) return Complain(database.status());
  const auto before = db::GetMigrationStatus(database->dsn);
  if (!before.ok()) return Complain(before.status());
  if (context.grant_to.has_value()) {
    const absl::Status grantee = db::CheckGrantee(database->dsn, *context.grant_to);
    if (!grantee.ok()) return Complain(grantee);
  }
  const absl::Status status =
      db::Migrate(database->dsn, {.partition_count = context.config().partitions});
  if (!status.ok()) return Complain(status);
  if (before->pending.empty()) {
    absl::PrintF("schema %d: nothing to do\n", before->current());
  } else {
    absl::PrintF("schema %d → %d\n", before->current(), before->needed());
  }
  return context.grant_to.has_value() ? Grant(database->dsn, *context.grant_to) : kOk;
}

int ShowConfig(const Context& context) {
  for (const Setting& setting : context.effective.settings) {
    absl::PrintF("%-20s %-40s %s\n", setting.option->name,
                 setting.shown.empty() ? "-" : TerminalText(setting.shown),
                 TerminalText(setting.origin));
  }
  for (const std::string& warning : context.effective.warnings) {
    absl::FPrintF(stderr, "sessiond: %s\n", TerminalText(warning));
  }
  return kOk;
}

int Doctor(const Context& context) {
  int code = kOk;
  for (const std::string& warning : context.effective.warnings) {
    absl::PrintF("[!] %s\n", TerminalText(warning));
  }
  for (const Finding& finding :
       Examine(context.config(), context.supervisor, context.stop_signals.token())) {
    const std::string why =
        finding.status.ok() ? "" : absl::StrCat(": ", ToldToOperator(finding.status));
    const bool advice = finding.is_advice && absl::IsFailedPrecondition(finding.status);
    absl::PrintF("[%s] %s\n",
                 finding.status.ok() ? "+"
                 : advice            ? "!"
                                     : "-",
                 TerminalText(absl::StrCat(finding.what, why)));
    if (!finding.status.ok() && !advice) code = kInTheWay;
  }
  return code;
}

int CheckAccessFile(const std::string& path) {
  const auto text = CheckAccess(path);
  if (!text.ok()) return Complain(text.status());
  absl::PrintF("%s", TerminalText(*text));
  return kOk;
}

int Explain(const Context& context, const std::string& principal, const std::string& method) {
  const auto explained = ExplainAccess(context.config().access_file, principal, method);
  if (!explained.ok()) return Complain(explained.status());
  absl::PrintF("%s", TerminalText(explained->first));
  return explained->second ? kOk : kInTheWay;
}

// The token alone is on stdout, so that it can be redirected into a file.
int NewToken() {
  const std::vector<std::string> lines = absl::StrSplit(DrawToken(), '\n');
  if (lines.size() < 2) return Complain(absl::InternalError("there are no random numbers"));
  absl::PrintF("%s\n", lines[0]);
  if (std::fflush(stdout) != 0) return Complain(absl::DataLossError("the token cannot be written"));
  absl::FPrintF(stderr, "In the access file: token_hashes = [\"%s\"]\n", lines[1]);
  return kOk;
}

int Version() {
  const auto migrations = db::BuiltInMigrations();
  absl::PrintF("sessiond %s\nschema %d\n", SESSIOND_VERSION,
               migrations.empty() ? 0 : migrations.back().version);
  return kOk;
}

// -------------------------------------------------------------------------------------- the line

struct CommandLine {
  ConfigSources sources;
  // The chosen command.
  std::function<int(const Context&)> run;
  bool needs_postgres = false;
  std::optional<std::string> grant_to;
  // Of `access`.
  std::string access_file, principal, method;
};

std::string MetavarOf(const Option& option) {
  struct Visitor {
    std::string operator()(std::string Config::*) const { return "TEXT"; }
    std::string operator()(bool Config::*) const { return ""; }
    std::string operator()(int Config::*) const { return "NUMBER"; }
    std::string operator()(absl::Duration Config::*) const { return "DURATION"; }
  };
  return std::visit(Visitor{}, option.member);
}

void AddFlag(CLI::App& app, const Option& option, ConfigSources& sources) {
  const std::string name(option.name);
  std::string help(option.help);
  absl::StrAppend(&help, " [", EnvironmentName(name), option.value_default.empty() ? "" : ", ",
                  option.value_default, "]");
  const auto take = [&sources, name](const std::string& value) { sources.flags[name] = value; };
  if (std::holds_alternative<bool Config::*>(option.member)) {
    // CLI11 counts a flag, and `--name=false` backwards.
    const auto count = [take](int64_t n) { take(n > 0 ? "true" : "false"); };
    app.add_flag_function("--" + name, count, help);
  } else {
    app.add_option_function<std::string>("--" + name, take, help)->type_name(MetavarOf(option));
  }
  if (!option.old_name.empty()) {
    const std::string old_name(option.old_name);
    const auto take_old = [&sources, old_name](const std::string& value) {
      sources.flags[old_name] = value;
    };
    app.add_option_function<std::string>("--" + old_name, take_old)->group("");  // Not in the help.
  }
  if (!option.secret) return;
  const auto take_file = [&sources, name](const std::string& path) {
    sources.flags[name + "-file"] = path;
  };
  app.add_option_function<std::string>("--" + name + "-file", take_file,
                                       "A file that holds it, out of sight of ps.")
      ->type_name("FILE");
}

// Why not; empty: it is. An empty name comes from a variable of a script that was not set.
std::string IsGiven(const std::string& file) {
  return file.empty() ? "names no file: name one, or leave it out" : "";
}

CLI::App* AddCommand(CLI::App& app, CommandLine& line, const char* name, const char* help,
                     int (*run)(const Context&), bool needs_postgres) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("--config", line.sources.file, "A TOML file of options. [SESSIOND_CONFIG]")
      ->check(IsGiven)
      ->type_name("FILE");
  for (const Option& option : Options()) AddFlag(*command, option, line.sources);
  command->callback([&line, run, needs_postgres] {
    line.run = run;
    line.needs_postgres = needs_postgres;
  });
  return command;
}

// The flag or command nearest to the first word that is neither.
std::string Suggestion(const CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> known = {"--help", "--version", "--config", kGrantTo};
  for (const Option& option : Options()) known.push_back(absl::StrCat("--", option.name));
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(command->get_name());
  }
  for (const std::string& word : words) {
    const std::string name = word.substr(0, word.find('='));
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    if (const std::string near = Nearest(name, known); !near.empty())
      return absl::StrCat("; did you mean ", near, "?");
  }
  return "";
}

std::vector<std::string> EnvironmentNames() {
  std::vector<std::string> names;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const absl::string_view text = *variable;
    names.emplace_back(text.substr(0, text.find('=')));
  }
  return names;
}

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

int RunCommand(CommandLine& line) {
  line.sources.environment = ReadEnvironment;
  line.sources.environment_names = EnvironmentNames();
  const auto effective = [&line] {
    const UntilSignalled reading;
    return ResolveConfig(line.sources);
  }();
  if (!effective.ok()) return Complain(effective.status(), kUsage);
  // Only one thread may exist: the environment is changed, and PostgreSQL's supervisor is forked.
  if (effective->config.db_url.empty()) {
    db::ForgetLibpqEnvironment();
  } else if (const auto said = db::ParseConnInfo(effective->config.db_url); said.ok()) {
    db::ForgetLibpqEnvironment(*said);
  }
  std::unique_ptr<db::PostgresSupervisor> supervisor;
  if (line.needs_postgres && effective->config.db_url.empty()) {
    auto forked = db::PostgresSupervisor::Fork();
    if (!forked.ok()) return Complain(forked.status());
    supervisor = *std::move(forked);
  }
  SetUpLogging({.level = effective->config.log_level, .format = effective->config.log_format});
  const int code = line.run({*effective, supervisor.get(), StopSignals::Take(), line.grant_to});
  AwaitLogWritten();
  return code;
}

int Main(int argc, char** argv) {
  CLI::App app("sessiond tracks long-lived user sessions, over gRPC, in PostgreSQL.");
  app.require_subcommand(1);
  app.set_version_flag("--version", "sessiond " SESSIOND_VERSION);
  app.footer("First time? Type: sessiond serve");
  CommandLine line;
  AddCommand(app, line, "serve", "Serve; without --db-url, on a PostgreSQL of its own.", Serve,
             true);
  CLI::App* migrate =
      app.add_subcommand("migrate", "Look at the database's schema, and bring it up to date.");
  migrate->require_subcommand(1);
  AddCommand(*migrate, line, "status", "What is applied, and what is pending.", MigrateStatus,
             true);
  AddCommand(*migrate, line, "up", "Apply what is pending.", MigrateUp, true)
      ->add_option(kGrantTo, line.grant_to,
                   "Then grant this role what a daemon needs, and take from it what is more: "
                   "not the role that migrates, but the one that the daemon connects as.")
      ->type_name("ROLE");
  AddCommand(app, line, "config", "Show the effective options, and where each came from.",
             ShowConfig, false);
  AddCommand(app, line, "doctor",
             "Look at everything that serve needs, and say what is in the way.", Doctor, true);
  CLI::App* access =
      app.add_subcommand("access", "Look at an access file: who may call, and what.");
  access->require_subcommand(1);
  CLI::App* check =
      access->add_subcommand("check", "Say whether a file is sound, and what it grants.");
  check->add_option("FILE", line.access_file, "The access file.")->required();
  CLI::App* explain = AddCommand(
      *access, line, "explain", "Say what somebody may do.", [](const Context&) { return kOk; },
      false);
  explain->add_option("PRINCIPAL", line.principal, "A name in the file, or ISSUER#SUBJECT.")
      ->required();
  explain->add_option("METHOD", line.method, "For example SessionService/GetSession.");
  explain->callback([&line] {
    line.run = [&line](const Context& context) {
      return Explain(context, line.principal, line.method);
    };
  });
  CLI::App* token = access->add_subcommand("token", "Make a token, and its hash for the file.");
  bool version = false;
  app.add_subcommand("version", "Say what this is.")->callback([&version] { version = true; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help and --version.
  } catch (const CLI::ParseError& error) {
    absl::FPrintF(stderr, "sessiond: %s%s\n", error.what(),
                  Suggestion(app, {argv + 1, argv + argc}));
    return kUsage;
  }
  if (check->parsed()) return CheckAccessFile(line.access_file);
  if (token->parsed()) return NewToken();
  return version ? Version() : RunCommand(line);
}

absl::Status StatusOf(const std::exception& error) {
  const auto* const of_system = dynamic_cast<const std::system_error*>(&error);
  if (of_system != nullptr && of_system->code() == std::errc::resource_unavailable_try_again) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there is no thread to spare (", error.what(),
                     "): raise the limit of processes, by TasksMax= or ulimit -u"));
  }
  return absl::InternalError(
      absl::StrCat(error.what(), "; nobody has thought of this: please report how it came"));
}

// Who starts us may have closed standard input, output or error: the next file or socket would take
// its place, and get what is written there.
void OpenStandardDescriptors() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDWR);
  if (fd >= 0) close(fd);
}

}  // namespace
}  // namespace sessiond

int main(int argc, char** argv) {
  sessiond::OpenStandardDescriptors();
  // Debian's Abseil checks every lock for cycles, which costs each call some microseconds.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Only one thread may exist.
  sessiond::LeaveInitDuties();
  signal(SIGPIPE, SIG_IGN);  // The reader of the log may go away.
  // gRPC's threads may still shake hands when main() returns: OpenSSL is not cleaned up beneath
  // them.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  // Exceptions of the libraries also become a sentence, not a core dump.
  try {
    return sessiond::Main(argc, argv);
  } catch (const std::exception& error) {
    return sessiond::Complain(sessiond::StatusOf(error));
  }
}
