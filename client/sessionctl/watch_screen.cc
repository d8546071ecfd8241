// A watch on a terminal: a table that is redrawn in place, without the alternate screen, so that
// the last drawing stays when the watch ends.
//
//   ● live · 12 sessions · 1,234 changes, 3.4/s · resumed 2 times · Ctrl-C leaves
//
//   SESSION  OWNER  WORKFLOW  STATE  STAGE  STATUS  EVENT  CHANGED
//
// A session stays in its row. When there are more sessions than rows, a changed one replaces the
// one that changed longest ago.
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "client/cpp/steady_time.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/progress.h"
#include "client/sessionctl/views.h"
#include "client/sessionctl/watch_view.h"

namespace sessiond::ctl {
namespace {

using Response = v1::WatchSessionsResponse;

// How long a changed row is highlighted, and one that no longer matches stays visible.
constexpr absl::Duration kLit = absl::Seconds(2);
// Ages and rates are redrawn without a change, too.
constexpr absl::Duration kDrawAtLeastEvery = absl::Seconds(1);
// For the longest type, REFERENCE_DETACHED, so that the columns do not move.
constexpr int kTypeWidth = 18;
// The rate is measured over this many seconds.
constexpr int kRateSeconds = 10;
// The status line, the empty one below it, the headings, and the cursor's line.
constexpr int kLinesBesideRows = 4;

// Not a colour: allowed with NO_COLOR.
constexpr char kReverse[] = "\033[7m";
constexpr char kEraseLine[] = "\033[K";
constexpr char kEraseBelow[] = "\033[J";
constexpr char kEraseAll[] = "\033[H\033[J";
// Lines that are too wide are cut by the terminal, so that each stays one line.
constexpr char kWrapOff[] = "\033[?7l";
constexpr char kWrapOn[] = "\033[?7h";

// Hides typed keys while drawing; Ctrl-C still works.
class Echo {
 public:
  ~Echo() {
    if (off_) tcsetattr(STDOUT_FILENO, TCSANOW, &before_);
  }
  // A process in the background would be stopped for this.
  void TurnOff() {
    if (tcgetpgrp(STDOUT_FILENO) != getpgrp()) return;
    if (!off_ && tcgetattr(STDOUT_FILENO, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    off_ = tcsetattr(STDOUT_FILENO, TCSANOW, &silent) == 0;
  }

 private:
  bool off_ = false;
  termios before_ = {};
};

class WatchScreen final : public WatchView {
 public:
  WatchScreen() { echo_.TurnOff(); }
  // Leaves the last drawing on the screen.
  ~WatchScreen() override {
    {
      absl::MutexLock lock(&mutex_);
      dirty_ = true;
      left_ = true;
    }
    Draw(Redraw::kInPlace);
  }

  void Take(const Response& response) override {
    absl::MutexLock lock(&mutex_);
    dirty_ = true;
    if (response.has_bookmark()) {
      link_ = Link::kLive;
      bookmarked_ = true;
    }
    if (response.has_session()) {
      const v1::Session& session = response.session();
      Put(session.session_id(), SessionRow(session), "", TimeOf(session.update_time()));
    }
    if (response.has_change()) Apply(response.change(), response.matches());
  }

  void Lost(const absl::Status& why) override {
    const std::vector<std::string> parts = absl::StrSplit(why.message(), ": ");
    absl::MutexLock lock(&mutex_);
    dirty_ = true;
    if (link_ != Link::kLost) lost_ = Stopwatch();
    link_ = Link::kLost;
    why_ = Printable(OneLine(parts.back()));
  }

  void Resumed(bool anew) override {
    absl::MutexLock lock(&mutex_);
    dirty_ = true;
    ++resumed_;
    link_ = bookmarked_ ? Link::kLive : Link::kReading;
    if (!anew) return;
    lines_.clear();
    places_.clear();
    leaving_ = 0;
  }

  void Draw(Redraw redraw) override {
    absl::MutexLock lock(&mutex_);
    if (redraw == Redraw::kInForeground) {
      echo_.TurnOff();
      drawn_lines_ = 0;
    }
    const bool something = link_ != Link::kReading || !lines_.empty();
    if (redraw == Redraw::kInPlace && !dirty_ && !draw_next_.passed()) return;
    if (!something) return;  // No response yet, and the watch may still be refused.
    dirty_ = false;
    draw_next_ = Deadline(kDrawAtLeastEvery);
    Settle();
    const std::string frame = Frame();
    const std::string back = redraw == Redraw::kWindowChanged ? kEraseAll
                             : drawn_lines_ == 0              ? "\r"
                                                 : absl::StrFormat("\r\033[%dA", drawn_lines_);
    Print(absl::StrCat(kWrapOff, back, frame, kEraseBelow, kWrapOn));
    std::fflush(stdout);
    drawn_lines_ = static_cast<int>(std::count(frame.begin(), frame.end(), '\n'));
  }

 private:
  // What is known of a session, visible if it has a row.
  struct Line {
    Row row;
    absl::Time changed;  // By the database's clock.
    Deadline lit = Deadline(absl::ZeroDuration());
    bool leaving = false;  // It no longer matches, and is removed when its highlight ends.
    bool placed = false;
  };
  using Lines = std::map<std::string, Line>;
  enum class Link { kReading, kLive, kLost };

  static std::vector<Column> Columns() {
    std::vector<Column> columns = SessionColumns();
    columns.back() = {.name = "EVENT", .fit = Column::kLeftOut};
    columns.push_back({.name = "CHANGED", .right = true});
    return columns;
  }

  void Apply(const v1::SessionChange& change, bool matches) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++changes_;
    const v1::SessionEvent& event = change.event();
    const auto known = lines_.find(event.session_id());
    Row row = change.has_session()    ? SessionRow(change.session())
              : known == lines_.end() ? SessionRow(v1::Session())
                                      : known->second.row;
    row[0].text = event.session_id();
    Line& line = Put(event.session_id(), std::move(row), v1::SessionEvent::Type_Name(event.type()),
                     TimeOf(event.event_time()));
    line.lit = Deadline(kLit);
    leaving_ += static_cast<int>(!matches) - static_cast<int>(line.leaving);
    line.leaving = !matches;
  }

  // Records the present state of a session, and gives it a row if possible.
  Line& Put(const std::string& id, Row row, const std::string& event, absl::Time changed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Line& line = lines_[id];
    line.row = std::move(row);
    line.row.back().text = absl::StrFormat("%-*s", kTypeWidth, event);
    line.changed = changed;
    if (line.placed) return line;
    if (places_.size() < places_max_) {
      places_.push_back(id);
      line.placed = true;
      return line;
    }
    const auto oldest = std::min_element(places_.begin(), places_.end(),
                                         [this](const auto& a, const auto& b)
                                             ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                                               return lines_[a].changed < lines_[b].changed;
                                             });
    if (oldest == places_.end() || lines_[*oldest].changed > changed) return line;
    Displace(*oldest);
    *oldest = id;
    line.placed = true;
    return line;
  }

  // Takes its row away; also removes the line, if it was about to leave.
  void Displace(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto line = lines_.find(id);
    line->second.placed = false;
    if (!line->second.leaving) return;
    lines_.erase(line);
    --leaving_;
  }

  // Removes the lines that are due, and makes as many rows as the window has.
  void Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::erase_if(places_, [&](const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      const Line& line = lines_[id];
      if (!line.leaving || !line.lit.passed()) return false;
      Displace(id);
      return true;
    });
    winsize window = {};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
    const int rows = window.ws_row > 0 ? window.ws_row : 24;
    places_max_ = static_cast<std::size_t>(std::max(rows - kLinesBesideRows, 1));
    const auto newer =
        [this](const std::string& a, const std::string& b)
            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return lines_[a].changed > lines_[b].changed; };
    while (places_.size() > places_max_) {
      const auto oldest = std::max_element(places_.begin(), places_.end(), newer);
      const std::string id = *oldest;
      places_.erase(oldest);
      Displace(id);
    }
    const std::size_t missing = std::min(places_max_, lines_.size()) - places_.size();
    if (missing == 0) return;
    std::vector<std::string> others;
    for (const auto& [id, line] : lines_) {
      if (!line.placed) others.push_back(id);
    }
    std::partial_sort(others.begin(), others.begin() + missing, others.end(), newer);
    for (std::size_t i = 0; i < missing; ++i) {
      lines_[others[i]].placed = true;
      places_.push_back(others[i]);
    }
  }

  std::string Frame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::string frame = absl::StrCat(StatusLine(), kEraseLine, "\n", kEraseLine, "\n");
    std::vector<Row> rows;
    std::vector<const char*> styles = {""};  // For the headings.
    for (const std::string& id : places_) {
      const Line& line = lines_[id];
      Row row = line.row;
      row.push_back({Age(line.changed)});
      const bool lit = !line.lit.passed() && !left_;
      styles.push_back(line.leaving ? color::kDim : lit ? kReverse : "");
      for (Cell& cell : row) {
        if (lit) cell.color = "";
      }
      rows.push_back(std::move(row));
    }
    if (rows.empty()) return absl::StrCat(frame, "Nothing yet.", kEraseLine, "\n");
    const std::string table = FormatTable(Columns(), rows, /*headings=*/true);
    std::size_t i = 0;
    for (const absl::string_view text : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
      const char* style = i < styles.size() ? styles[i++] : "";
      absl::StrAppend(&frame, style, text, *style == '\0' ? "" : color::kReset, kEraseLine, "\n");
    }
    return frame;
  }

  std::string StatusLine() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<std::string> parts = {LinkText()};
    const std::size_t sessions = lines_.size() - static_cast<std::size_t>(leaving_);
    const std::string of =
        places_.size() < lines_.size() ? absl::StrCat(places_.size(), " of ") : "";
    parts.push_back(absl::StrCat(of, WithCommas(static_cast<int64_t>(sessions)),
                                 sessions == 1 ? " session" : " sessions"));
    parts.push_back(absl::StrCat(WithCommas(changes_), changes_ == 1 ? " change, " : " changes, ",
                                 RateText(), "/s"));
    if (resumed_ > 0) {
      parts.push_back(absl::StrCat("resumed ", resumed_, resumed_ == 1 ? " time" : " times"));
    }
    if (!left_) parts.push_back("Ctrl-C leaves");
    return absl::StrJoin(parts, " · ");
  }

  std::string LinkText() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (left_) return "left";
    const auto sign = [](const char* color, const char* text) {
      return Colored(stdout) ? absl::StrCat(color, text, color::kReset) : std::string(text);
    };
    if (link_ == Link::kReading) return sign(color::kCyan, "◌ reading");
    if (link_ == Link::kLive) return sign(color::kGreen, "● live");
    return absl::StrCat(sign(color::kYellow, "○ trying again"), " for ",
                        ShortDuration(lost_.elapsed()), " (", why_, ")");
  }

  std::string RateText() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (marks_.empty() || marks_.back().first.elapsed() >= absl::Seconds(1)) {
      marks_.emplace_back(Stopwatch(), changes_);
    }
    while (marks_.size() > 1 && marks_[1].first.elapsed() >= absl::Seconds(kRateSeconds)) {
      marks_.pop_front();
    }
    const double seconds = absl::ToDoubleSeconds(marks_.front().first.elapsed());
    const double rate =
        static_cast<double>(changes_ - marks_.front().second) / std::max(seconds, 1.0);
    return rate < 10 ? absl::StrFormat("%.1f", rate) : WithCommas(static_cast<int64_t>(rate));
  }

  absl::Mutex mutex_;
  Echo echo_ ABSL_GUARDED_BY(mutex_);

  // By id. Also those without a row: they may get one.
  Lines lines_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> places_ ABSL_GUARDED_BY(mutex_);
  std::size_t places_max_ ABSL_GUARDED_BY(mutex_) = 20;
  int leaving_ ABSL_GUARDED_BY(mutex_) = 0;

  Link link_ ABSL_GUARDED_BY(mutex_) = Link::kReading;
  bool bookmarked_ ABSL_GUARDED_BY(mutex_) = false;
  Stopwatch lost_ ABSL_GUARDED_BY(mutex_);  // Since the connection was lost.
  std::string why_ ABSL_GUARDED_BY(mutex_);
  int resumed_ ABSL_GUARDED_BY(mutex_) = 0;

  int64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  // The number of changes at several times, a second apart, oldest first.
  std::deque<std::pair<Stopwatch, int64_t>> marks_ ABSL_GUARDED_BY(mutex_);

  bool left_ ABSL_GUARDED_BY(mutex_) = false;
  bool dirty_ ABSL_GUARDED_BY(mutex_) = false;
  Deadline draw_next_ ABSL_GUARDED_BY(mutex_) = Deadline(absl::ZeroDuration());
  int drawn_lines_ ABSL_GUARDED_BY(mutex_) = 0;  // On the screen, above the cursor.
};

}  // namespace

std::unique_ptr<WatchView> MakeWatchScreen() { return std::make_unique<WatchScreen>(); }

}  // namespace sessiond::ctl
