#include "client/sessionctl/contexts.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cpp/read_file.h"
#include "client/cpp/server_address.h"
#include "client/sessionctl/errors.h"
#include "client/sessionctl/printable.h"

namespace sessiond::ctl {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status Failed(absl::string_view path, absl::string_view what, int error = errno) {
  return absl::FailedPreconditionError(absl::StrCat(path, " ", what, ": ", std::strerror(error)));
}

// Nothing if there is no such file.
absl::StatusOr<std::optional<std::string>> ReadPrivate(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return Failed(path, "cannot be read");
  }
  const absl::Cleanup close_it = [fd] { close(fd); };
  struct stat file = {};
  if (fstat(fd, &file) != 0) return Failed(path, "cannot be read");
  if (!S_ISREG(file.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is no file"));
  }
  if (file.st_uid != geteuid() && file.st_uid != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path,
                     " belongs to somebody else, who could send your token elsewhere; look "
                     "at it, and then make it yours: chown $USER ",
                     ShellWord(path)));
  }
  if ((file.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " is open to others, and says where your credentials are: chmod 600 ",
                     ShellWord(path)));
  }
  std::string content;
  const std::error_code error = ReadToEnd(fd, content, kFileBytesMax);
  if (error == std::errc::file_too_large) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is longer than 1 MiB"));
  }
  if (error) return Failed(path, "cannot be read", error.value());
  return content;
}

const SettingKind* KindOf(absl::string_view name) {
  for (const SettingKind& kind : kSettings) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

// `did you mean …?`, or all that there is.
std::string Meant(absl::string_view word, const std::vector<std::string>& candidates) {
  std::optional<std::string> meant = DidYouMean(word, candidates);
  if (!meant.has_value()) {
    // Half of a name, or a name and more: `ca`, `tls-ca-file`.
    for (const std::string& candidate : candidates) {
      if ((absl::StrContains(word, candidate) || absl::StrContains(candidate, word)) &&
          (!meant.has_value() || candidate.size() > meant->size())) {
        meant = candidate;
      }
    }
  }
  if (meant.has_value()) return absl::StrCat("did you mean ", *meant, "?");
  return absl::StrCat("there are: ", absl::StrJoin(candidates, ", "));
}

// Reads the file's tables; each refusal begins with file and line.
class Parser {
 public:
  explicit Parser(std::string path) : path_(std::move(path)) {}

  absl::StatusOr<Contexts> Parse(const std::string& content) {
    try {
      const toml::table file = toml::parse(content, path_);
      for (const auto& [key, node] : file) {
        if (absl::Status status = Take(std::string(key.str()), key.source(), node); !status.ok()) {
          return status;
        }
      }
    } catch (const toml::parse_error& error) {
      return Refused(error.source(), std::string(error.description()));
    }
    return std::move(contexts_);
  }

 private:
  absl::Status Refused(const toml::source_region& where, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ":", where.begin.line, ": ", what));
  }

  absl::Status Take(const std::string& key, const toml::source_region& where,
                    const toml::node& node) {
    if (key == "current") {
      const auto text = node.value_exact<std::string>();
      if (!text.has_value()) return Refused(where, "current must be the name of a context");
      contexts_.current = *text;
      return absl::OkStatus();
    }
    if (key != "contexts") {
      return Refused(where, absl::StrCat("there is no key \"", key, "\"; ",
                                         Meant(key, {"current", "contexts"})));
    }
    if (!node.is_table()) return Refused(where, "contexts must be a table: [contexts.NAME]");
    for (const auto& [name, below] : *node.as_table()) {
      const std::string context(name.str());
      if (absl::Status status = CheckContextName(context); !status.ok()) {
        return Refused(name.source(), status.message());
      }
      if (!below.is_table()) {
        return Refused(name.source(), absl::StrCat("context ", context,
                                                   " must be a table: [contexts.", context, "]"));
      }
      if (absl::Status status = TakeContext(context, *below.as_table()); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status TakeContext(const std::string& context, const toml::table& table) {
    ContextSettings& settings = contexts_.by_name[context];
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const SettingKind* kind = KindOf(name);
      if (kind == nullptr) {
        std::vector<std::string> names;
        for (const SettingKind& known : kSettings) names.emplace_back(known.name);
        return Refused(key.source(),
                       absl::StrCat("a context has no \"", name, "\"; ", Meant(name, names)));
      }
      if (name == "tls") {
        const auto flag = node.value_exact<bool>();
        if (!flag.has_value()) return Refused(key.source(), "tls must be true or false");
        settings[name] = *flag ? "true" : "false";
        continue;
      }
      const auto text = node.value_exact<std::string>();
      if (!text.has_value() || text->empty()) {
        return Refused(key.source(), absl::StrCat(name, " must be a text, and not an empty one"));
      }
      if (kind->path && !absl::StartsWith(*text, "/")) {
        return Refused(key.source(),
                       absl::StrCat(name, " must be a whole path, from / on, not \"", *text, "\""));
      }
      if (name == "server") {
        if (const auto address = ParseServerAddress(*text); !address.ok()) {
          return Refused(key.source(), absl::StrCat("server: ", address.status().message()));
        }
      }
      settings[name] = *text;
    }
    if (!settings.contains("server")) {
      return Refused(table.source(), absl::StrCat("context ", context, " has no server"));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  Contexts contexts_;
};

std::string TextOf(const Contexts& contexts) {
  toml::table all;
  for (const auto& [name, settings] : contexts.by_name) {
    toml::table table;
    for (const auto& [key, value] : settings) {
      if (key == "tls") {
        table.insert(key, value == "true");
      } else {
        table.insert(key, value);
      }
    }
    all.insert(name, std::move(table));
  }
  toml::table file;
  if (!contexts.current.empty()) file.insert("current", contexts.current);
  file.insert("contexts", std::move(all));
  std::ostringstream text;
  text << "# Written by `sessionctl context`. Tokens are not in here, only the paths of their "
          "files.\n"
       << file << "\n";
  return text.str();
}

// A file beside it takes its place, so that nobody ever finds half of it.
absl::Status Replace(const std::string& path, const std::string& content, int directory) {
  std::string beside = path + ".XXXXXX";
  const int fd = mkostemp(beside.data(), O_CLOEXEC);  // Readable by nobody else.
  if (fd < 0) return Failed(path, "cannot be written");
  absl::Cleanup remove_it = [&beside] { unlink(beside.c_str()); };
  absl::Cleanup close_it = [fd] { close(fd); };
  for (std::size_t written = 0; written < content.size();) {
    const ssize_t size = write(fd, content.data() + written, content.size() - written);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return Failed(path, "cannot be written");
    written += static_cast<std::size_t>(size);
  }
  if (fchmod(fd, 0600) != 0 || fsync(fd) != 0) return Failed(path, "cannot be written");
  if (rename(beside.c_str(), path.c_str()) != 0) return Failed(path, "cannot be written");
  std::move(remove_it).Cancel();
  if (fsync(directory) != 0) return Failed(path, "cannot be written");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<const ContextSettings*> Contexts::Find(const std::string& name) const {
  const auto found = by_name.find(name);
  if (found != by_name.end()) return &found->second;
  const std::string sentence = absl::StrCat("there is no context \"", name, "\"");
  if (by_name.empty()) {
    return absl::NotFoundError(
        absl::StrCat(sentence, "; make one: sessionctl context set NAME --server HOST:PORT"));
  }
  return absl::NotFoundError(absl::StrCat(sentence, "; ", Meant(name, Names())));
}

std::vector<std::string> Contexts::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, settings] : by_name) names.push_back(name);
  return names;
}

absl::StatusOr<std::string> ContextsPath() {
  std::string base = Variable("XDG_CONFIG_HOME");
  // By its specification a relative one does not count.
  if (!absl::StartsWith(base, "/")) {
    const std::string home = Variable("HOME");
    if (!absl::StartsWith(home, "/")) {
      return absl::FailedPreconditionError(
          "There is no place for contexts: neither XDG_CONFIG_HOME nor HOME is set");
    }
    base = home + "/.config";
  }
  return base + "/sessiond/contexts.toml";
}

absl::StatusOr<Contexts> ReadContexts() {
  const auto path = ContextsPath();
  if (!path.ok()) return Contexts();
  const auto content = ReadPrivate(*path);
  if (!content.ok()) return content.status();
  if (!content->has_value()) return Contexts();
  return Parser(*path).Parse(**content);
}

absl::Status ChangeContexts(absl::FunctionRef<absl::Status(Contexts&)> change) {
  const auto named = ContextsPath();
  if (!named.ok()) return named.status();
  // Where it is a link, into a folder of settings that are kept elsewhere, it stays one.
  std::error_code unresolved;
  const std::filesystem::path whole = std::filesystem::weakly_canonical(*named, unresolved);
  const std::string path = unresolved ? *named : whole.string();
  const std::string folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  const mode_t mask = umask(077);
  std::filesystem::create_directories(folder, error);
  umask(mask);
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return Failed(folder, "cannot be opened");
  const absl::Cleanup close_it = [directory] { close(directory); };
  // One that cannot be locked, on some network file systems, is used all the same: people rarely
  // change contexts twice in a millisecond.
  while (flock(directory, LOCK_EX) != 0 && errno == EINTR) {
  }
  auto contexts = ReadContexts();
  if (!contexts.ok()) return contexts.status();
  if (absl::Status status = change(*contexts); !status.ok()) return status;
  return Replace(path, TextOf(*contexts), directory);
}

absl::Status CheckContextName(absl::string_view name) {
  const auto fits = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= 63 &&
      absl::ascii_isalnum(static_cast<unsigned char>(name[0])) &&
      std::all_of(name.begin(), name.end(), fits)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", name,
      "\" is no name for a context: it has up to 63 letters, digits, dots, _ and -, and begins "
      "with a letter or a digit"));
}

}  // namespace sessiond::ctl
