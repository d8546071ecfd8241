// The version of this package, which is the daemon's. A test compares it with package.json.
export const version = "0.1.0";
