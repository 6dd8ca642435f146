import type { JsonValue, SourceSpan } from '@sallyport/base'
import type { FieldTreatment } from '@sallyport/decide'

/** A call that a row makes, or that was made before it. */
export interface RowCall {
  readonly system: string
  readonly operation: string
  readonly input: Readonly<Record<string, JsonValue>>
}

export interface Expectation {
  readonly code?: string
  readonly decision?: 'allow' | 'deny' | 'needs'
  readonly needs?: number
  readonly why?: readonly string[]
  readonly projection?: Readonly<Record<string, FieldTreatment>>
  readonly limits?: readonly string[]
}

/** One call and how it shall end, with everything that it inherited filled in. */
export interface TestRow extends RowCall {
  readonly name: string
  readonly span: SourceSpan
  readonly agent: string
  readonly instance: string
  /** Absent: none, or those that the calls before it bring. */
  readonly labels?: readonly string[]
  readonly risk: number
  readonly approvals: readonly string[]
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly source?: string
  readonly first: readonly RowCall[]
  readonly tags: readonly string[]
  readonly expect: Expectation
}

export interface TestFile {
  readonly file: string
  /** As the file names it, relative to itself. */
  readonly network?: string
  readonly rows: readonly TestRow[]
}
