// `sessionctl context …`: how daemons are reached, kept by a name.
#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "client/cpp/credential_files.h"
#include "client/sessionctl/contexts.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/run.h"

namespace sessiond::ctl {
namespace {

using google::protobuf::Struct;

// What is wrong with contexts is wrong with the command line: nothing was sent.
template <class T>
T OrUsage(absl::StatusOr<T> result) {
  if (!result.ok()) throw CLI::ValidationError(std::string(result.status().message()));
  return *std::move(result);
}
void OrUsage(const absl::Status& status) {
  if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
}

void AddContextName(CLI::App& app, const std::shared_ptr<Text>& name, bool required = true) {
  AddText(app, "NAME", "", "The context's name", [name](const Text& text) {
    *name = text;
  })->required(required);
}

void SetField(Struct& object, const Text& key, const Text& value) {
  (*object.mutable_fields())[key].set_string_value(value);
}

void SayDone(const Run& run, const Text& what, const Text& name) {
  Struct object;
  SetField(object, "name", name);
  Card card;
  card.Add(what, name);
  PrintOne(run.format, object, card, name);
}

// ---- set

// Paths, and those of sockets, mean the same from everywhere.
Text Kept(const SettingKind& kind, const Text& typed) {
  const auto whole = [](absl::string_view path) {
    return std::filesystem::absolute(Text(path)).lexically_normal().string();
  };
  if (kind.path) return whole(typed);
  absl::string_view socket = absl::StripAsciiWhitespace(typed);
  if (kind.name != "server") return typed;
  if (!absl::ConsumePrefix(&socket, "unix:") || absl::StartsWith(socket, "/")) {
    return Text(absl::StripAsciiWhitespace(typed));
  }
  return absl::StrCat("unix:", whole(socket));
}

// What was typed, as it is kept.
ContextSettings SettingsOf(const TypedSettings& typed) {
  ContextSettings settings;
  for (const SettingKind& kind : kSettings) {
    const auto value = typed.values.find(kind.name);
    if (value == typed.values.end()) continue;
    settings[std::string(kind.name)] = Kept(kind, value->second);
  }
  return settings;
}

absl::Status Set(Run& run, const Text& name) {
  if (run.typed.context.has_value()) {
    throw CLI::ValidationError("--context", "is not for context set, which is told the NAME");
  }
  OrUsage(CheckContextName(name));
  if (!run.typed.Has("server")) {
    throw CLI::ValidationError("context set", "which daemon is it? --server HOST:PORT");
  }
  // As it would be used, with nothing else around.
  OrUsage(ResolveTyped(run.typed));
  const ContextSettings settings = SettingsOf(run.typed);
  bool replaced = false, used = false;
  OrUsage(ChangeContexts([&](Contexts& contexts) {
    replaced = contexts.by_name.contains(name);
    contexts.by_name[name] = settings;
    used = contexts.current == name;
    return absl::OkStatus();
  }));
  SayDone(run, replaced ? "Replaced" : "Kept", name);
  for (const SettingKind& kind : kSettings) {
    const auto setting = settings.find(kind.name);
    std::error_code error;
    if (kind.path && setting != settings.end() &&
        !std::filesystem::exists(setting->second, error)) {
      std::cerr << "There is no file " << Printable(setting->second) << " yet.\n";
    }
  }
  if (!used && run.format == Format::kTable) {
    std::cerr << "To use it: sessionctl context use " << name << "\n";
  }
  return absl::OkStatus();
}

// ---- use, delete

absl::Status Use(Run& run, const Text& name, bool none) {
  if (none == !name.empty()) {
    throw CLI::ValidationError("context use", "which? NAME, or --none");
  }
  OrUsage(ChangeContexts([&](Contexts& contexts) {
    if (!none) {
      if (const auto found = contexts.Find(name); !found.ok()) return found.status();
    }
    contexts.current = name;
    return absl::OkStatus();
  }));
  SayDone(run, "In use", none ? "none" : name);
  return absl::OkStatus();
}

absl::Status Delete(Run& run, const Text& name) {
  bool used = false;
  OrUsage(ChangeContexts([&](Contexts& contexts) {
    if (const auto found = contexts.Find(name); !found.ok()) return found.status();
    contexts.by_name.erase(name);
    used = contexts.current == name;
    if (used) contexts.current.clear();
    return absl::OkStatus();
  }));
  SayDone(run, "Deleted", name);
  if (used) std::cerr << "It was in use; now none is.\n";
  return absl::OkStatus();
}

// ---- list

Text Value(const ContextSettings& settings, absl::string_view name) {
  const auto setting = settings.find(name);
  return setting == settings.end() ? "" : setting->second;
}

Text TlsOf(const ContextSettings& settings) {
  if (const Text ca = Value(settings, "tls-ca"); !ca.empty()) return ca;
  const bool https = absl::StartsWithIgnoreCase(Value(settings, "server"), "https://");
  if (https || Value(settings, "tls") == "true" || !Value(settings, "tls-cert").empty()) {
    return "system's authorities";
  }
  return "none";
}

absl::Status List(Run& run) {
  const Contexts contexts = OrUsage(ReadContexts());
  ListPrinter printer(run.format, {{.name = ""},
                                   {.name = "CONTEXT"},
                                   {.name = "SERVER"},
                                   {.name = "TLS", .fit = Column::kCut},
                                   {.name = "TOKEN FILE", .fit = Column::kCut}});
  for (const auto& [name, settings] : contexts.by_name) {
    const bool used = name == contexts.current;
    Struct object;
    SetField(object, "name", name);
    (*object.mutable_fields())["current"].set_bool_value(used);
    for (const auto& [key, value] : settings) {
      if (key == "tls") {
        (*object.mutable_fields())[key].set_bool_value(value == "true");
      } else {
        SetField(object, key, value);
      }
    }
    printer.Add(object,
                {{{used ? "*" : ""},
                  {name, used ? color::kBold : ""},
                  {Value(settings, "server")},
                  {TlsOf(settings)},
                  {Value(settings, "token-file")}}},
                name);
  }
  printer.Finish();
  if (contexts.by_name.empty() && run.format == Format::kTable) {
    std::cerr << "No contexts.\n";
  }
  return absl::OkStatus();
}

// ---- show

absl::Status ShowKept(Run& run, const Text& name) {
  const Contexts contexts = OrUsage(ReadContexts());
  const ContextSettings& settings = *OrUsage(contexts.Find(name));
  Struct object;
  Card card;
  SetField(object, "name", name);
  card.Add("context", name == contexts.current ? absl::StrCat(name, " (in use)") : name,
           color::kBold);
  for (const SettingKind& kind : kSettings) {
    const Text value = Value(settings, kind.name);
    if (value.empty()) continue;
    SetField(object, Text(kind.name), value);
    card.Add(kind.name, value);
  }
  PrintOne(run.format, object, card, name);
  return absl::OkStatus();
}

// What a command would use now.
absl::Status ShowEffect(Run& run) {
  const Connection connection = OrUsage(ResolveConnection(run.typed));
  Struct object;
  Card card;
  Text context = "none";
  if (!connection.context.empty()) {
    context = absl::StrCat(connection.context, " (", connection.context_origin, ")");
    if (connection.context_passed_over) {
      absl::StrAppend(&context, ", which counts for nothing: another server is named");
    }
    SetField(object, "context", connection.context_passed_over ? "" : connection.context);
  }
  card.Add("context", context, color::kBold);
  for (const SettingKind& kind : kSettings) {
    const auto setting = connection.settings.find(kind.name);
    if (setting == connection.settings.end()) continue;
    card.Add(kind.name, absl::StrCat(setting->second.value, "  (", setting->second.origin, ")"));
    Struct& shown = *(*object.mutable_fields())[Text(kind.name)].mutable_struct_value();
    SetField(shown, "value", setting->second.value);
    SetField(shown, "from", setting->second.origin);
  }
  if (!connection.tls.has_value()) card.Add("tls", "none: nothing is encrypted");
  PrintOne(run.format, object, card, connection.context_passed_over ? "" : connection.context);
  return absl::OkStatus();
}

}  // namespace

void AddContextCommands(CLI::App& app, Run& run) {
  CLI::App& group =
      *app.add_subcommand("context", "Keep by a name how a daemon is reached, and use it");
  group.require_subcommand(1);
  auto name = std::make_shared<Text>();
  auto none = std::make_shared<bool>(false);
  const auto footer = [](CLI::App& command, const char* text) {
    command.footer(absl::StrCat(text, "\n\n", command.get_footer()));
  };

  CLI::App& set = *AddCommand(group, run, "set", "Keep one: what is typed, and nothing else",
                              [name](Run& run) { return Set(run, *name); });
  AddContextName(set, name);
  footer(set,
         "Kept are --server, --tls, --tls-ca, --tls-cert, --tls-key, --tls-server-name and "
         "--token-file: of files\nthe paths, made whole. A context of that name is replaced. "
         "Example:\n  sessionctl context set prod --server sessiond.example.com --tls-ca ca.pem "
         "--token-file token\n\nThe file is $XDG_CONFIG_HOME/sessiond/contexts.toml, else "
         "~/.config/sessiond/contexts.toml.");
  CLI::App& use = *AddCommand(group, run, "use", "Use it from now on, where nothing else is said",
                              [=](Run& run) { return Use(run, *name, *none); });
  AddContextName(use, name, /*required=*/false);
  use.add_flag("--none", *none, "Use none");
  footer(use,
         "A flag wins over a variable of the environment, a variable over the context. Where "
         "another server is\nnamed, by --server or SESSIOND_SERVER, the context counts for "
         "nothing, so that its token goes to its\nown server only; --context NAME says that it "
         "counts all the same.");
  AddCommand(group, run, "list", "List them; * is the one in use", List);
  CLI::App& show = *AddCommand(
      group, run, "show", "Show what is in effect, and where each value comes from; or one context",
      [name](Run& run) { return name->empty() ? ShowEffect(run) : ShowKept(run, *name); });
  AddContextName(show, name, /*required=*/false);
  CLI::App& remove = *AddCommand(group, run, "delete", "Delete one; the files it names stay",
                                 [name](Run& run) { return Delete(run, *name); });
  AddContextName(remove, name);
}

}  // namespace sessiond::ctl
