/** Why a message was refused, one word each: it goes into the log, and tests list them. */
export type FaultReason =
  | 'version'
  | 'status'
  | 'control'
  | 'head-too-large'
  | 'too-many-headers'
  | 'header'
  | 'upgrade'
  | 'content-length'
  | 'transfer-encoding'
  | 'two-framings'
  | 'no-framing'
  | 'chunk'
  | 'trailer'
  | 'behind-the-answer'
  | 'unasked'
  | 'interim'
  | 'closed'
  | 'given-up'
  | 'timeout-head'
  | 'timeout-body'
  | 'unwritable'

/** A message of HTTP/1.1 that is not accepted. Its connection is out of step and carries nothing more. */
export class Fault extends Error {
  readonly reason: FaultReason
  readonly code: string

  constructor(reason: FaultReason) {
    super(`not accepted as HTTP/1.1: ${reason}`)
    this.reason = reason
    this.code = `H1_${reason.toUpperCase().replaceAll('-', '_')}`
  }
}
