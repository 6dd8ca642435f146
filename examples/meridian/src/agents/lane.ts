/**
 * Work that is done a few pieces at a time while the rest waits in line. Whoever puts work in looks at `full` first, and
 * leaves it where it is: that is how a limit, or people who take their time, hold back the source of the work.
 */
export class Lane<T> {
  readonly #width: number
  readonly #length: number
  readonly #work: (item: T) => Promise<void>
  readonly #line: T[] = []
  #under = 0

  /**
   * @param width pieces of work under way at once
   * @param length pieces that may wait in line before it is full
   * @param work must not reject
   */
  constructor(width: number, length: number, work: (item: T) => Promise<void>) {
    this.#width = width
    this.#length = length
    this.#work = work
  }

  get full(): boolean {
    return this.#line.length >= this.#length
  }

  put(item: T): void {
    this.#line.push(item)
    this.#next()
  }

  #next(): void {
    while (this.#under < this.#width) {
      const item = this.#line.shift()
      if (item === undefined) return
      this.#under++
      void this.#work(item).finally(() => {
        this.#under--
        this.#next()
      })
    }
  }
}
