// The details of refusals (google.rpc). Kept inside the package: other packages may bring their own copy.
export {
  BadRequestSchema,
  ErrorInfoSchema,
  PreconditionFailureSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
