/** Tells once that nobody waits any more. An `AbortSignal` is one. */
export interface Ending {
  readonly aborted: boolean
  /** Of whatever is aborted: why. */
  readonly reason: unknown
  addEventListener(type: 'abort', listener: Listener): void
  removeEventListener(type: 'abort', listener: Listener): void
}

type Listener = (() => void) | { handleEvent(): void }

/** The ending of a request whose caller may go: most calls only ask, or listen once, and an `AbortController` costs as much as a decision. */
export class Gone implements Ending {
  aborted = false
  reason: unknown = undefined
  #first: Listener | undefined
  #others: Listener[] | undefined

  addEventListener(_type: 'abort', listener: Listener): void {
    if (this.aborted) return
    if (this.#first === undefined) this.#first = listener
    else (this.#others ??= []).push(listener)
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    if (this.#first === listener) this.#first = undefined
    else if (this.#others) this.#others = this.#others.filter((one) => one !== listener)
  }

  abort(): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = new DOMException('This operation was aborted', 'AbortError')
    const [first, others = []] = [this.#first, this.#others]
    this.#first = this.#others = undefined
    if (first !== undefined) tell(first)
    others.forEach(tell)
  }
}

function tell(listener: Listener): void {
  if (typeof listener === 'function') listener()
  else listener.handleEvent()
}
