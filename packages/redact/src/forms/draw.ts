import { createHmac } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** Numbers that only whoever has the key can tell: an HMAC of what they are drawn for. */
export class Draw {
  readonly #key: KeyObject
  readonly #label: string
  #block: Uint8Array = new Uint8Array(0)
  #at = 0
  #blocks = 0

  constructor(key: KeyObject, label: string) {
    this.#key = key
    this.#label = label
  }

  /** One of the numbers from 0, all as likely as any other. @param count 1 to 256 */
  below(count: number): number {
    // A remainder would come up more often for small numbers than for large ones.
    const most = 256 - (256 % count)
    for (;;) {
      if (this.#at >= this.#block.length) {
        const mac = createHmac('sha256', this.#key)
        this.#block = mac.update(`${this.#blocks++}\0${this.#label}`).digest()
        this.#at = 0
      }
      const byte = this.#block[this.#at++] ?? 0
      if (byte < most) return byte % count
    }
  }

  oneOf(characters: string): string {
    return characters.charAt(this.below(characters.length))
  }
}
