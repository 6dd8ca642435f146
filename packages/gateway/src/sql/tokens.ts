import type { Tokeniser } from '@sallyport/redact'

/** Of each of two generations; what is longer than this is not kept. */
const MAX_KEPT = 65_536
const MAX_CHARACTERS = 64

/**
 * Tokens of values that were made before, of one key: making one takes longer than everything else that is done with a value, and
 * columns hold the same ones again and again. What was not asked for lately is forgotten.
 */
export class KeptTokens {
  readonly #tokeniser: Pick<Tokeniser, 'tokenise'>
  readonly #most: number
  #young = new Map<string, Map<string, string>>()
  #old = new Map<string, Map<string, string>>()
  #count = 0

  /** @param most that a generation holds */
  constructor(tokeniser: Pick<Tokeniser, 'tokenise'>, most: number = MAX_KEPT) {
    this.#tokeniser = tokeniser
    this.#most = most
  }

  /** @throws SallyportError as `Tokeniser.tokenise` */
  of(kind: string, value: string): string {
    if (value.length > MAX_CHARACTERS) return this.#tokeniser.tokenise(kind, value)
    const known = this.#young.get(kind)?.get(value)
    if (known !== undefined) return known
    const token = this.#old.get(kind)?.get(value) ?? this.#tokeniser.tokenise(kind, value)
    if (this.#count >= this.#most) {
      this.#old = this.#young
      this.#young = new Map()
      this.#count = 0
    }
    let kept = this.#young.get(kind)
    if (!kept) this.#young.set(kind, (kept = new Map()))
    kept.set(value, token)
    this.#count++
    return token
  }
}
