import type { DataClass } from './types.ts'

export interface OpaqueBinding {
  readonly kind: 'opaque'
}

/** A system whose protocol nobody here reads (protocol `opaque`): bounds of one connection. */
export interface OpaqueSystem {
  /** Bytes from the caller to the system. */
  readonly maxBytesUp: number
  /** Bytes from the system to the caller. */
  readonly maxBytesDown: number
  readonly maxSeconds: number
  /** Without a byte in either direction. */
  readonly idleSeconds: number
  /** Highest class of data that may come back: models count a session as having read it. */
  readonly holds: DataClass
  /** Labels that a session has once it was connected, e.g. `untrusted`. */
  readonly answerTags: readonly string[]
}
