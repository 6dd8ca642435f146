/**
 * What is there for a moment, each in a numbered place. A `Set` through which as much comes and goes leaves a table behind every few
 * dozen turns, which still holds what was there then and is held by the one before it: whatever was answered meanwhile
 * outlives the collector's look at young objects, and is copied by it.
 */
export class Roster<T extends object> {
  readonly #places: (T | undefined)[] = []
  readonly #free: number[] = []

  get size(): number {
    return this.#places.length - this.#free.length
  }

  /** @returns the place to `remove` it from */
  add(item: T): number {
    const place = this.#free.pop() ?? this.#places.length
    this.#places[place] = item
    return place
  }

  /** @param place as `add` gave it, once */
  remove(place: number): void {
    this.#places[place] = undefined
    this.#free.push(place)
  }

  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#places) if (item) yield item
  }
}
