package com.sessiond.client;

import com.sessiond.v1.SessionError;

/** Thrown by work that knows what its failure means: the error to record, in words for the user. */
public class TaskFailure extends Exception {
  private static final long serialVersionUID = 1L;

  private final SessionError error;

  /** {@code error} needs a category, a severity and a user_message, which is the message of this exception too. */
  public TaskFailure(SessionError error) {
    this(error, null);
  }

  /** The same, with what caused it. */
  public TaskFailure(SessionError error, Throwable cause) {
    super(error.getUserMessage(), cause);
    this.error = error;
  }

  /** The error to record. */
  public final SessionError error() {
    return error;
  }
}
