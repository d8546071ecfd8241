// The package in browsers, and wherever else there is `fetch`: everything, and `connect`, which speaks Connect. Nothing of
// Node is in it.
export * from "./common.js";
export { connect, type ConnectOptions } from "./web/connect.js";
