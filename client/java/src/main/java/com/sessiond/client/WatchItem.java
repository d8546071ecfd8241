package com.sessiond.client;

import com.sessiond.v1.Session;
import com.sessiond.v1.SessionEvent;
import com.sessiond.v1.SessionMessage;
import java.util.List;
import java.util.Optional;

/** What a {@link Watcher} tells of. */
public sealed interface WatchItem {
  /** A session as it stands: a part of the initial state. */
  record State(Session session) implements WatchItem {}

  /** The initial state is complete. From here on: every change. There is one in the life of a watch. */
  record Bookmark() implements WatchItem {}

  /**
   * A change.
   *
   * @param event what happened
   * @param session the session as the event left it, or as it stood a little later; empty when it is gone
   * @param messages what was appended, as far as it fits into 256 KiB; ListMessages has the rest
   * @param matches whether the session matches the filter now
   */
  record Change(SessionEvent event, Optional<Session> session, List<SessionMessage> messages, boolean matches)
      implements WatchItem {}

  /** The initial state broke off, and is told again from its start: forget what was told of it. */
  record Restart() implements WatchItem {}
}
