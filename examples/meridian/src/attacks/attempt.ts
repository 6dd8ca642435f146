/** What came of one attempt. `layer` is what stopped it. */
export interface Attempt {
  readonly attempt: string
  readonly layer: 'decision' | 'limit' | 'identity' | 'edge' | 'mtls' | 'packet' | 'files' | 'none'
  readonly refused: boolean
  /** The product's code, the HTTP status or the system's errno. */
  readonly code: string
  /** Records that came back. */
  readonly records?: number
  /** Calls that the attempt was made of (default 1). */
  readonly calls?: number
}
