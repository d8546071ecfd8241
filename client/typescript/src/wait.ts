// Waiting that ends early.

/** Calls `then` when one of the signals is aborted, at once if one is. Returns what takes that back. */
export function onAbort(signals: readonly (AbortSignal | undefined)[], then: (reason: unknown) => void): () => void {
  const listeners: [AbortSignal, () => void][] = [];
  const off = () => {
    for (const [signal, listener] of listeners.splice(0)) signal.removeEventListener("abort", listener);
  };
  for (const signal of signals) {
    if (signal === undefined) continue;
    const listener = () => {
      off();
      then(signal.reason);
    };
    if (signal.aborted) {
      listener();
      return off;
    }
    signal.addEventListener("abort", listener);
    listeners.push([signal, listener]);
  }
  return off;
}

/** Waits that long, or until one of the signals is aborted. */
export function pause(ms: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    let off = () => {};
    const done = () => {
      clearTimeout(timer);
      off();
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, 0x7fffffff));
    off = onAbort(signals, done); // At once, if one is aborted already.
  });
}
