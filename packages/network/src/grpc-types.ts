/** One method of a service. */
export interface GrpcBinding {
  readonly kind: 'grpc'
  /** `/package.Service/Method`, as requests have it in `:path`. */
  readonly path: string
  /** Full name of the message that asks. */
  readonly request: string
  /** Full name of the message that answers. */
  readonly response: string
  /** Whether the caller sends any number of messages. */
  readonly clientStreams: boolean
  /** Whether the system sends any number of messages. */
  readonly serverStreams: boolean
}

/** Messages and enums of a system (protocol `grpc`) that its operations reach, by full name without a leading dot. */
export interface GrpcSystem {
  readonly messages: Readonly<Record<string, GrpcMessage>>
  readonly enums: Readonly<Record<string, GrpcEnum>>
}

export interface GrpcMessage {
  /** In the order of their numbers. */
  readonly fields: readonly GrpcField[]
  /** One entry of a map: its fields are `key` and `value`. */
  readonly isMapEntry?: true
  /** A `google.protobuf.Any` whose types are declared: one field for each, named by its full name with `_` for `.`; at most one is there. */
  readonly isAny?: true
}

/** Name → number, each number once: of several names of one the first that was declared. */
export type GrpcEnum = Readonly<Record<string, number>>

export type GrpcScalar =
  | 'double'
  | 'float'
  | 'int64'
  | 'uint64'
  | 'int32'
  | 'fixed64'
  | 'fixed32'
  | 'bool'
  | 'string'
  | 'bytes'
  | 'uint32'
  | 'sfixed32'
  | 'sfixed64'
  | 'sint32'
  | 'sint64'

export interface GrpcField {
  readonly number: number
  readonly name: string
  readonly type: GrpcScalar | 'enum' | 'message'
  /** Full name of the enum or the message. */
  readonly of?: string
  /**
   * `implicit`: a value that is not sent is the default, and the other way round (proto3); `explicit`: it can be absent;
   * `required`: it must not be (proto2); `repeated`: any number of values, of a map any number of entries.
   */
  readonly presence: 'implicit' | 'explicit' | 'required' | 'repeated'
  /** How values of it are written; they are read either way. */
  readonly packed?: true
  /** At most one field of a message that names it is present. */
  readonly oneof?: string
  /** What the system takes where it is absent (proto2), as it is read. */
  readonly default?: string | number | boolean
  /** `DATASET.FIELD` whose tokens callers may send in the place of its values. */
  readonly tokenOf?: string
}

/** Never read, and never passed on, but where its field says which types may be in it: what else is in it nobody declared. */
export const GRPC_ANY = 'google.protobuf.Any'
