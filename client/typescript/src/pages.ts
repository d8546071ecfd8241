// Lists that are read page by page while iterating over them.

/** One page of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Empty at the end. */
  readonly nextPageToken: string;
}

/**
 * A list of the daemon's. Every iteration starts at the request's own page token; a page is read when its first item is
 * wanted.
 *
 *     for await (const session of sessiond.listSessions({ filter: 'owner_id = "ada"' })) …
 */
export class Pages<T> implements AsyncIterable<T> {
  readonly #read: (pageToken: string | undefined) => Promise<Page<T>>;

  /** `read` gets a page; the first one has no token of its own. */
  constructor(read: (pageToken: string | undefined) => Promise<Page<T>>) {
    this.#read = read;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for await (const page of this.pages()) yield* page.items;
  }

  /** Page after page, for callers who show pages. */
  async *pages(): AsyncGenerator<Page<T>, void, undefined> {
    let token: string | undefined;
    do {
      const page = await this.#read(token);
      yield page;
      token = page.nextPageToken;
    } while (token !== "");
  }

  /** All items, or the first `max`. */
  async toArray(max = Number.POSITIVE_INFINITY): Promise<T[]> {
    const all: T[] = [];
    if (max <= 0) return all;
    for await (const item of this) {
      all.push(item);
      if (all.length >= max) break;
    }
    return all;
  }
}
