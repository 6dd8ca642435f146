import type { BarrierStorage } from '../../src/index.ts'

/** Storage that can die at a write, before or after it took effect, as a machine does. */
export class MemoryStorage implements BarrierStorage {
  text: string | undefined
  writes = 0
  #die: { at: number; after: boolean } | undefined

  /** @param at the write from now on, counted from 1 */
  dieAt(at: number, after: boolean): void {
    this.#die = { at: this.writes + at, after }
  }

  live(): void {
    this.#die = undefined
  }

  async read(): Promise<string | undefined> {
    return this.text
  }

  async replace(previous: string | undefined, next: string): Promise<boolean> {
    this.writes++
    const dies = this.#die !== undefined && this.writes >= this.#die.at
    if (dies && !(this.#die?.after && this.writes === this.#die.at)) throw new Error('dead')
    if (this.text !== previous) return false
    this.text = next
    if (dies) throw new Error('dead')
    return true
  }
}
