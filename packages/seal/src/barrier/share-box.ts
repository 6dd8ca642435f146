import { SallyportError } from '@sallyport/base'
import { combineShares, commitmentOf, decodeShare } from '../shares.ts'
import type { Share } from '../shares.ts'
import type { SharesSeal } from './document.ts'

/** Shares on their way to a threshold. Each is checked before it counts, so that none is combined that could spoil the others. */
export class ShareBox {
  readonly #shares = new Map<number, Share>()
  #set = ''

  /** A full box out of shares given at once. @throws SallyportError `SP_SEAL_SHARE` where they are wrong or too few */
  static all(texts: readonly string[], seal: SharesSeal): ShareBox {
    const box = new ShareBox()
    for (const text of texts) if (box.add(text, seal)) return box
    const given = box.size
    box.clear()
    throw new SallyportError('SP_SEAL_SHARE', 'these are too few shares', {
      detail: `${given} different shares, ${seal.threshold} are needed`,
      fix: `give ${seal.threshold} different shares`,
    })
  }

  get size(): number {
    return this.#shares.size
  }

  /**
   * @param pending a set of new shares, to tell them by name
   * @returns the box once it holds a threshold
   * @throws SallyportError `SP_SEAL_SHARE`
   */
  add(text: string, seal: SharesSeal, pending?: SharesSeal): this | undefined {
    const share = decodeShare(text)
    if (this.#set !== seal.set) this.clear()
    this.#set = seal.set
    if (share.set !== seal.set) {
      const why =
        share.set === pending?.set
          ? 'it is one of the new shares, which are not confirmed yet'
          : `it is of the set \`${share.set}\`, the barrier's is \`${seal.set}\``
      throw foreign(why)
    }
    if (commitmentOf(share) !== seal.commitments[share.index - 1]) {
      throw foreign('it is none of the shares that were handed out')
    }
    this.#shares.set(share.index, share)
    return this.#shares.size >= seal.threshold ? this : undefined
  }

  shares(): readonly Share[] {
    return [...this.#shares.values()]
  }

  clear(): void {
    for (const { bytes } of this.#shares.values()) bytes.fill(0)
    this.#shares.clear()
  }
}

/** The secret that a full box recovers; the box is empty afterwards. */
export async function sharesSecret(box: ShareBox): Promise<Buffer> {
  try {
    return await combineShares(box.shares())
  } finally {
    box.clear()
  }
}

function foreign(detail: string): SallyportError {
  return new SallyportError('SP_SEAL_SHARE', 'this share is not of this barrier', {
    detail,
    fix: 'give a share of the set that `sallyport unseal` names',
  })
}
