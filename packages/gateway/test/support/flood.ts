import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** More than whatever lies between two sides may hold, offered to one that does not read. */
export class Flood {
  readonly size: number = 64 * 1024 * 1024
  readonly #piece = Buffer.alloc(65_536, 'z')
  #offered = 0

  /** Bytes that were taken so far. */
  get offered(): number {
    return this.#offered
  }

  /** Offers all of it, piece by piece as it is taken, and ends. */
  offer(to: Socket): void {
    while (this.#offered < this.size) {
      this.#offered += this.#piece.length
      if (!to.write(this.#piece)) {
        to.once('drain', () => {
          this.offer(to)
        })
        return
      }
    }
    to.end()
  }

  /** Resolves once some was taken and nothing moves any more. */
  async stuck(): Promise<void> {
    for (let last = 0; last === 0 || last !== this.#offered; await sleep(300)) last = this.#offered
  }
}
