import { setImmediate } from 'node:timers/promises'

/** How long work holds the thread, in milliseconds, but for the one piece that begins just before the time is up. */
const SLICE_MS = 1

/** Cuts long work into slices, between which the thread does what else waits: decisions, above all. */
export class Slicer {
  #end = performance.now() + SLICE_MS

  /** Whether the slice is used up, and `rest` is to be awaited before the next piece. */
  get over(): boolean {
    return performance.now() >= this.#end
  }

  /** Lets everything else that waits have its turn. */
  async rest(): Promise<void> {
    await setImmediate()
    this.#end = performance.now() + SLICE_MS
  }
}
