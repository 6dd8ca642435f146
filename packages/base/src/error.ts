/** Where in a text a problem stands. Lines and columns count from 1, columns in UTF-16 code units. */
export interface SourceSpan {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly endLine?: number
  readonly endColumn?: number
}

export interface SallyportErrorOptions {
  /** What only an authorised operator may read: thresholds, policy ids, inner causes. */
  readonly detail?: string
  /** One sentence that tells the reader how to mend it. */
  readonly fix?: string
  readonly span?: SourceSpan
  readonly cause?: unknown
}

/**
 * The one error class. `message` is safe to show to the caller whose act failed; `detail` is not.
 * `code` is stable, starts with `SP_`, and has a page at `docs/errors/CODE.md`.
 */
export class SallyportError<Code extends string = string> extends Error {
  override readonly name = 'SallyportError'
  readonly code: Code
  readonly detail: string | undefined
  readonly fix: string | undefined
  readonly span: SourceSpan | undefined

  constructor(code: Code, message: string, options: SallyportErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.detail = options.detail
    this.fix = options.fix
    this.span = options.span
  }
}

/** The stable code of any thrown value: its own where it has one, `SP_INTERNAL` otherwise. */
export function errorCode(error: unknown): string {
  return error instanceof SallyportError ? error.code : 'SP_INTERNAL'
}

/** What happened, why and how to mend it, as the command line prints it. */
export function renderError(error: unknown): string {
  if (!(error instanceof SallyportError)) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
  const { span } = error
  const place = span ? `${span.file}:${span.line}:${span.column}: ` : ''
  // A control plane has one text for both where its caller may read all; several problems are a text of several lines.
  const { detail: why } = error
  const detail = why && why !== error.message ? `\n  why: ${why.replaceAll('\n', '\n       ')}` : ''
  const fix = error.fix ? `\n  fix: ${error.fix}` : ''
  return `${place}${error.message} [${error.code}]${detail}${fix}`
}
