/** Things, each with a number of its own from 0. */
export class Interned<T> {
  readonly #all: T[] = []
  readonly #places = new Map<T, number>()

  /** The number of a thing, which is the same as that of an equal one (as keys of a `Map` are). */
  place(thing: T): number {
    let place = this.#places.get(thing)
    if (place === undefined) {
      place = this.#all.push(thing) - 1
      this.#places.set(thing, place)
    }
    return place
  }

  /** @param place a number that `place` gave */
  at(place: number): T {
    // INVARIANT: numbers come from `place` alone, so there is one.
    return this.#all[place] as T
  }
}
