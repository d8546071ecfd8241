// A watch as lines, for files, pipes and programs:
//
//   2026-01-01 00:00:02Z  0192…  #2  PAUSED              ada  state ACTIVE → PAUSED
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/views.h"
#include "client/sessionctl/watch_view.h"

namespace sessiond::ctl {
namespace {

using Response = v1::WatchSessionsResponse;

// For the longest type, REFERENCE_DETACHED: lines are printed one by one, and must line up.
constexpr int kTypeWidth = 18;

// Formatted as a table of one row, which makes control characters harmless.
std::string Line(std::string time, const std::string& session_id, int32_t sequence,
                 const std::string& type, std::string by, std::string what) {
  static const std::vector<Column> columns = {{.name = "TIME"}, {.name = "SESSION"},
                                              {.name = "SEQ"},  {.name = "EVENT"},
                                              {.name = "BY"},   {.name = "CHANGE"}};
  Row row = {{std::move(time)},
             {session_id},
             {absl::StrCat("#", sequence)},
             {absl::StrFormat("%-*s", kTypeWidth, type)},
             {std::move(by)},
             {std::move(what)}};
  return FormatTable(columns, {std::move(row)}, /*headings=*/false);
}

std::string PresentLine(const v1::Session& session) {
  std::vector<std::string> facts = {
      absl::StrCat("state ", v1::Session::State_Name(session.state()))};
  if (!session.stage().empty()) facts.push_back(absl::StrCat("stage ", session.stage()));
  facts.push_back(absl::StrCat("status ", session.status()));
  return Line(ShortTime(session.update_time()), session.session_id(), session.sequence(), "present",
              "-", absl::StrJoin(facts, "; "));
}

std::string ChangeLine(const Response& response) {
  const v1::SessionEvent& event = response.change().event();
  std::vector<std::string> facts;
  for (const Row& row : EventRows(event)) {
    if (!row[4].text.empty()) facts.push_back(OneLine(row[4].text));
  }
  if (!response.matches()) facts.push_back("matches no more");
  return Line(ShortTime(event.event_time()), event.session_id(), event.sequence(),
              v1::SessionEvent::Type_Name(event.type()), event.actor(), absl::StrJoin(facts, "; "));
}

std::string TextOf(const Response& response, Format format) {
  if (IsJson(format)) {
    return absl::StrCat(ToJson(response, /*pretty=*/false), "\n");
  }
  const bool name = format == Format::kName;
  if (response.has_session()) {
    return name ? NameLine(response.session().session_id()) : PresentLine(response.session());
  }
  if (!response.has_change()) return "";
  return name ? NameLine(response.change().event().session_id()) : ChangeLine(response);
}

class WatchLines final : public WatchView {
 public:
  explicit WatchLines(Format format) : format_(format) {}

  void Take(const Response& response) override {
    Print(TextOf(response, format_));
    std::fflush(stdout);
  }
  // Once for each lost connection, not for each attempt.
  void Lost(const absl::Status& why) override {
    if (!std::exchange(lost_, true)) {
      absl::FPrintF(stderr, "The watch broke off and is tried again: %s\n",
                    Printable(why.message()));
    }
  }
  void Resumed(bool anew) override {
    lost_ = false;
    absl::FPrintF(stderr, "The watch goes on%s.\n",
                  anew ? "; the sessions as they stand are told again" : "");
  }

 private:
  const Format format_;
  bool lost_ = false;
};

}  // namespace

std::unique_ptr<WatchView> MakeWatchLines(Format format) {
  return std::make_unique<WatchLines>(format);
}

}  // namespace sessiond::ctl
