package com.sessiond.client;

import com.sessiond.v1.UpdateSessionRequest;
import java.util.List;
import java.util.Map;

/**
 * What to change of a session, all or none. Keys that are not named stay as they are.
 *
 * <pre>{@code
 * client.sessions().updateSession(id, u -> u.context("jira_project_key", "ABC").removeLabels("draft"));
 * }</pre>
 */
public final class SessionUpdate {
  private final UpdateSessionRequest.Builder request;

  SessionUpdate(String sessionId) {
    request = UpdateSessionRequest.newBuilder();
    request.getSessionBuilder().setSessionId(sessionId);
  }

  /** Sets a key of the context, to what {@link Values#value} takes. */
  public SessionUpdate context(String key, Object value) {
    request.getSetContextBuilder().putFields(key, Values.value(value));
    return this;
  }

  /** Sets keys of the context. */
  public SessionUpdate context(Map<String, ?> values) {
    request.getSetContextBuilder().putAllFields(Values.struct(values).getFieldsMap());
    return this;
  }

  /** Removes keys of the context. */
  public SessionUpdate removeContext(String... keys) {
    request.addAllRemoveContextKeys(List.of(keys));
    return this;
  }

  /** Sets a label. */
  public SessionUpdate label(String key, String value) {
    request.putSetLabels(key, value);
    return this;
  }

  /** Removes labels. */
  public SessionUpdate removeLabels(String... keys) {
    request.addAllRemoveLabelKeys(List.of(keys));
    return this;
  }

  /** Sets a reference. */
  public SessionUpdate reference(String name, String value) {
    request.putSetReferences(name, value);
    return this;
  }

  /** Removes references. */
  public SessionUpdate removeReferences(String... names) {
    request.addAllRemoveReferenceKeys(List.of(names));
    return this;
  }

  /** Sets the owner's name for people to read. */
  public SessionUpdate ownerDisplayName(String name) {
    request.getSessionBuilder().setOwnerDisplayName(name);
    return mask("owner_display_name");
  }

  /** Holds the session, or takes the hold off. */
  public SessionUpdate hold(boolean hold) {
    request.getSessionBuilder().setHold(hold);
    return mask("hold");
  }

  /** Adds to a counter. */
  public SessionUpdate increment(String counter, int by) {
    request.putCounterIncrements(counter, by);
    return this;
  }

  /** Changes it only if nobody else has since this etag was read. */
  public SessionUpdate etag(String etag) {
    request.setEtag(etag);
    return this;
  }

  /** The end user on whose behalf it is done, for the audit. */
  public SessionUpdate actor(String actor) {
    request.setActor(actor);
    return this;
  }

  /** Why, for the audit. */
  public SessionUpdate reason(String reason) {
    request.setReason(reason);
    return this;
  }

  UpdateSessionRequest build() {
    return request.build();
  }

  private SessionUpdate mask(String path) {
    if (!request.getUpdateMask().getPathsList().contains(path)) request.getUpdateMaskBuilder().addPaths(path);
    return this;
  }
}
