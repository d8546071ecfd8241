// The configuration file.
#include "server/config/config.h"

#include <sys/mman.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

// A file with this text, for as long as it lives.
class MemoryFile {
 public:
  explicit MemoryFile(absl::string_view text) : file_(memfd_create("config", MFD_CLOEXEC)) {
    fuzz::Expect(write(file_, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
                 "There is memory.");
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;

  std::string path() const { return absl::StrCat("/proc/self/fd/", file_); }

 private:
  const int file_;
};

}  // namespace

FUZZ_INPUT(input) {
  const absl::string_view text = input.Rest();
  if (absl::StrContains(text, "-file")) return;  // The daemon would read that file.
  const MemoryFile file(text);
  ConfigSources sources{.file = file.path()};
  sources.environment = [](const std::string&) { return std::optional<std::string>(); };
  const auto read = ResolveConfig(sources);
  if (!read.ok()) return fuzz::ExpectSentence(read.status());
  // What it says is in effect, given as flags, is the same configuration.
  ConfigSources flags;
  flags.environment = sources.environment;
  for (const Setting& setting : read->settings) {
    fuzz::ExpectReadable(setting.origin);
    if (setting.origin == "default" || setting.option->secret) continue;
    flags.flags.emplace(std::string(setting.option->name), setting.shown);
  }
  const auto again = ResolveConfig(flags);
  fuzz::Expect(again.ok(), "Values that are in effect are values.", text);
  for (std::size_t i = 0; i < read->settings.size(); ++i) {
    fuzz::Expect(
        read->settings[i].option->secret || again->settings[i].shown == read->settings[i].shown,
        "They are the same values.", read->settings[i].shown);
  }
}

}  // namespace sessiond
