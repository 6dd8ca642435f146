import { SallyportError } from '@sallyport/base'

/** PostgreSQL's text holds no NUL. Names that came from callers are indexed with it replaced; the record keeps it. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD')
}

/** Whether a record's writer is the control plane itself, for other enforcement points. */
export function isControl(spiffeId: string): boolean {
  return /^spiffe:\/\/[^/]+\/control\/[^/]+$/.test(spiffeId)
}

const MAX_REASON = 500
// eslint-disable-next-line no-control-regex -- control characters are what is being refused
const CONTROL = /[\u0000-\u001f\u007f]/

/** A sentence that a person gives as reason: 1–500 characters on one line. */
export function checkReason(reason: string, code: string): string {
  const trimmed = reason.trim()
  if (trimmed === '' || trimmed.length > MAX_REASON || CONTROL.test(trimmed)) {
    throw new SallyportError(code, `a reason has 1 to ${MAX_REASON} characters on one line`)
  }
  return trimmed
}
