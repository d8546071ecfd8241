// `sessionctl session watch`: a Watcher, a view of its responses, and a thread that handles signals
// and redraws the view.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <thread>

#include "client/sessionctl/flags.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/watch_view.h"
#include "sessiond/credentials.h"
#include "sessiond/watcher.h"

namespace sessiond::ctl {
namespace {

constexpr int kDrawEveryMs = 100;

// Written by the signal handler, which may do nothing else; and when the attendant ends.
int attendant_pipe[2];
constexpr char kLeave = 'l', kWindowChanged = 'w', kContinued = 'c', kEnd = 'e';

void Tell(char what) {
  // If the pipe is full, enough has been written.
  if (write(attendant_pipe[1], &what, 1) < 0) return;
}

void OnSignal(int signal) {
  const int saved = errno;
  Tell(signal == SIGWINCH ? kWindowChanged : signal == SIGCONT ? kContinued : kLeave);
  errno = saved;
}

void Handle(int signal, int flags) {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART | flags;
  sigaction(signal, &action, nullptr);
}

// Ends the watch on SIGINT and SIGTERM, and on the second one the process; and draws. One per
// process.
class Attendant {
 public:
  Attendant(Watcher& watcher, WatchView& view) : watcher_(watcher), view_(view) {
    if (pipe2(attendant_pipe, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
    for (const int signal : {SIGINT, SIGTERM}) Handle(signal, static_cast<int>(SA_RESETHAND));
    for (const int signal : {SIGWINCH, SIGCONT}) Handle(signal, 0);
    thread_ = std::thread([this] { Attend(); });
  }
  ~Attendant() {
    Tell(kEnd);
    thread_.join();
  }

 private:
  void Attend() {
    while (true) {
      pollfd pipe = {.fd = attendant_pipe[0], .events = POLLIN, .revents = 0};
      poll(&pipe, 1, kDrawEveryMs);
      char told = 0;
      if (read(attendant_pipe[0], &told, 1) != 1) told = 0;
      if (told == kEnd) return;
      if (told == kLeave) watcher_.Stop();
      view_.Draw(told == kWindowChanged ? WatchView::Redraw::kWindowChanged
                 : told == kContinued   ? WatchView::Redraw::kInForeground
                                        : WatchView::Redraw::kInPlace);
    }
  }

  Watcher& watcher_;
  WatchView& view_;
  std::thread thread_;
};

struct WatchFlags {
  v1::WatchSessionsRequest request;
  std::optional<bool> initial;
  Text until_status;
};

// Whether a session has reached the status that was waited for.
bool Reached(const Text& status, const v1::WatchSessionsResponse& response) {
  if (status.empty()) return false;
  return response.session().status() == status || response.change().event().new_status() == status;
}

// Reads the responses until something ends them.
absl::Status Follow(Watcher& watcher, WatchView& view, const Text& until_status) {
  for (const auto& response : watcher.Responses()) {
    if (!response.ok()) return response.status();
    view.Take(*response);
    if (Reached(until_status, *response) || std::ferror(stdout)) watcher.Stop();
  }
  return absl::OkStatus();
}

absl::Status Watch(Run& run, WatchFlags& flags) {
  run.filter = flags.request.filter();
  const bool screen = run.format == Format::kTable && IsScreen(stdout);
  flags.request.set_initial_state(flags.initial.value_or(flags.request.resume_token().empty() &&
                                                         (screen || !flags.until_status.empty())));
  auto channel = run.Connect();
  if (!channel.ok()) return channel.status();

  std::unique_ptr<WatchView> view = screen ? MakeWatchScreen() : MakeWatchLines(run.format);
  WatchOptions options;
  options.on_retry = [&](const absl::Status& why, absl::Duration) { view->Lost(why); };
  options.on_resume = [&](bool anew) { view->Resumed(anew); };
  options.reconnect = [&run] {
    return MakeChannel(run.connection.server, run.connection.credentials());
  };
  Watcher watcher(*channel, flags.request, std::move(options));
  absl::Status status;
  {
    Attendant attendant(watcher, *view);
    status = Follow(watcher, *view, flags.until_status);
  }
  view.reset();
  const Text token = watcher.resume_token();
  if (!token.empty() && !absl::IsInvalidArgument(status) && !absl::IsOutOfRange(status)) {
    std::cerr << "To go on from here: the same command with --from-token " << ShellWord(token)
              << "\n";
  }
  return status;
}

}  // namespace

void AddWatchCommand(CLI::App& group, Run& run) {
  auto flags = std::make_shared<WatchFlags>();
  v1::WatchSessionsRequest& request = flags->request;
  CLI::App& app = *AddCommand(group, run, "watch",
                              "Follow changes until Ctrl-C: a table on a terminal, lines elsewhere",
                              [flags](Run& run) { return Watch(run, *flags); });
  app.add_option_function<std::vector<Text>>(
         "SESSION",
         [&run, &request](const std::vector<Text>& ids) {
           if (ids.size() == 1) run.session_id = ids[0];
           for (const Text& id : ids) request.add_session_ids(id);
         },
         "These sessions, up to 1,000 (default: all that match)")
      ->option_text("");
  AddFilter(app, "As of list; a change counts when its session matched before or after it",
            request);
  AddNamespace(app, "The namespace; - for all (default: default)", request);
  AddTexts(app, "--event-type", "TYPE", "Only events like advanced or task-failed; repeatable",
           [&request](const Text& type) {
             request.add_event_types(EnumValue<v1::SessionEvent::Type>("--event-type", type));
           });
  CLI::Option* token =
      AddText(app, "--from-token", "TOKEN",
              "Go on where another watch of the same ended, with the token that it printed",
              [&request](const Text& token) { request.set_resume_token(token); });
  CLI::Option* initial = app.add_flag_callback(
      "--initial", [flags] { flags->initial = true; },
      "Show the sessions as they are first (default on a terminal, and with --until-status)");
  app.add_flag_callback(
         "--no-initial", [flags] { flags->initial = false; }, "Show changes only")
      ->excludes(initial);
  initial->excludes(token);
  AddText(app, "--until-status", "STATUS", "Exit when a session has this status",
          [flags](const Text& status) { flags->until_status = status; });
  AddText(
      app, "--heartbeat", "DURATION",
      "The daemon sends something at least this often, 1s to 10m; after three times that it counts "
      "as lost (default: 15s)",
      [&request](const Text& text) {
        *request.mutable_heartbeat_interval() = DurationValue("--heartbeat", text);
      });
}

}  // namespace sessiond::ctl
