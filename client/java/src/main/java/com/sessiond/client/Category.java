package com.sessiond.client;

/** Who can fix what was refused. */
public enum Category {
  /** Whoever sent the request, by sending another one. */
  USER_FIXABLE,
  /** Whoever runs the service, or owns the calling program. */
  ADMIN_REQUIRED,
  /** Nobody needs to: trying again may do. */
  TEMPORARY,
  /** The refusal did not come from sessiond, but from the connection, a proxy or this client. */
  UNKNOWN
}
