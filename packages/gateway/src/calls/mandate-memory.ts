import type { VerifiedMandate, MandateSigner, OperatorSet } from '@sallyport/wire'

/** A chain that verified, and what by. */
export interface Remembered {
  /** The instance that presented it. */
  readonly caller: string
  readonly mandate: VerifiedMandate
  readonly signers: readonly MandateSigner[]
  /** What it was verified by: where one of them is another now, it is verified again. */
  readonly operators: OperatorSet | undefined
  readonly rootsPem: string
  readonly chain: unknown
  /** Characters of the chain as it travels. */
  readonly size: number
}

/** Of one caller. */
const MAX_PER_CALLER = 64
const MAX_SIZE_PER_CALLER = 262_144
/** Of all callers. */
const MAX_REMEMBERED = 2048

/** What one caller presented, the one that was used longest ago first. */
interface Share {
  readonly known: Map<string, Remembered>
  size: number
}

/**
 * Chains that verified, each for the caller that presented it: nobody's make room for another's while theirs are the fewer.
 */
export class MandateMemory {
  readonly #shares = new Map<string, Share>()
  #count = 0

  recall(caller: string, id: string): Remembered | undefined {
    const known = this.#shares.get(caller)?.known
    const found = known?.get(id)
    if (known && found) {
      known.delete(id)
      known.set(id, found)
    }
    return found
  }

  remember(one: Remembered): void {
    const { caller, mandate, size } = one
    this.forget(caller, mandate.id)
    let share = this.#shares.get(caller)
    if (!share) this.#shares.set(caller, (share = { known: new Map(), size: 0 }))
    share.known.set(mandate.id, one)
    share.size += size
    this.#count++
    while (share.known.size > MAX_PER_CALLER || share.size > MAX_SIZE_PER_CALLER) {
      this.#forgetOldest(caller, share)
    }
    if (this.#count > MAX_REMEMBERED) this.#forgetOldest(...this.#largest())
  }

  forget(caller: string, id: string): void {
    const share = this.#shares.get(caller)
    const found = share?.known.get(id)
    if (!share || !found) return
    share.known.delete(id)
    share.size -= found.size
    this.#count--
    if (share.known.size === 0) this.#shares.delete(caller)
  }

  #forgetOldest(caller: string, { known }: Share): void {
    const [id] = known.keys()
    if (id !== undefined) this.forget(caller, id)
  }

  #largest(): [string, Share] {
    const shares = [...this.#shares]
    return shares.reduce((most, one) => (one[1].known.size > most[1].known.size ? one : most))
  }
}
