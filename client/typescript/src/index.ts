// The package on Node: everything, and `connect`, which speaks gRPC.
export * from "./common.js";
export { connect, type ConnectOptions, fileTokens, type TlsOptions } from "./node/connect.js";
