/** One text of a source file, and what stands there while a check is broken. */
export interface Break {
  /** From the top of the repository. */
  readonly file: string
  /** Occurs exactly once in the file. */
  readonly from: string
  readonly to: string
}

/** A threat, the check that stands against it, and the test that fails without the check. */
export interface RedRow extends Break {
  /** The number of the list, a full stop, and a word: `4.crit`. */
  readonly id: string
  readonly threat: string
  /** Further breaks, where two checks stand one behind the other. */
  readonly and?: readonly Break[]
  readonly test: string
  /** The name of a test or suite, as `node --test` prints it; what ends in `…` is the beginning of a name. */
  readonly name: string
  /** Stands in the failed assertion or in the name of the failed subtest, where the test covers more than this row. */
  readonly says?: string
}
