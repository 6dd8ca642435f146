import { errorCode } from '@sallyport/base'

/** Says one thing about this process: `{...facts, event, who, at}` with `at` in milliseconds since the epoch. */
export type Emit = (event: string, facts?: Readonly<Record<string, unknown>>) => void

/** Writes events of one process to stdout as NDJSON. */
export function emitter(who: string): Emit {
  return (event, facts = {}) => {
    process.stdout.write(`${JSON.stringify({ ...facts, event, who, at: Date.now() })}\n`)
  }
}

/** A stable word for what went wrong: the product's code, the system's errno or TLS code, or the error's name. */
export function failureCode(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string') return at.code
  }
  return errorCode(error) === 'SP_INTERNAL' && error instanceof Error
    ? error.name
    : errorCode(error)
}
