/** Reads a `text/event-stream` (WHATWG HTML, section 9.2.6) piece by piece; only the `data` of events is of interest. */
export class EventReader {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  readonly #maxEvent: number
  #line = ''
  #data: string[] | undefined
  #size = 0
  #skipLineFeed = false
  /** The last that was stated: where its sender would go on. */
  lastId: string | undefined
  /** Milliseconds to wait before that. */
  retryMs: number | undefined

  /** @param maxEvent characters that one event may have */
  constructor(maxEvent: number) {
    this.#maxEvent = maxEvent
  }

  /**
   * @returns the data of each event that this piece completed
   * @throws TypeError for invalid UTF-8, RangeError for an event over the limit
   */
  push(bytes: Uint8Array): string[] {
    const events: string[] = []
    let text = this.#decoder.decode(bytes, { stream: true })
    if (this.#skipLineFeed && text !== '') {
      if (text.startsWith('\n')) text = text.slice(1)
      this.#skipLineFeed = false
    }
    const hasReturns = text.includes('\r')
    let start = 0
    for (let i = endOfLine(text, 0, hasReturns); i >= 0; i = endOfLine(text, start, hasReturns)) {
      this.#endLine(this.#line + text.slice(start, i), events)
      this.#line = ''
      start = i + 1
      if (text.charCodeAt(i) !== 0x0d) continue
      if (start === text.length) this.#skipLineFeed = true
      else if (text.charCodeAt(start) === 0x0a) start++
    }
    this.#line += text.slice(start)
    if (this.#line.length + this.#size > this.#maxEvent)
      throw new RangeError('an event is too long')
    return events
  }

  #endLine(line: string, events: string[]): void {
    if (line === '') {
      if (this.#data) events.push(this.#data.join('\n'))
      this.#data = undefined
      this.#size = 0
      return
    }
    // As nearly every line begins.
    const match = line.startsWith('data: ') ? undefined : /^data(?::(?: )?(.*))?$/s.exec(line)
    if (match === null) {
      this.#resumption(line)
      return
    }
    const value = match === undefined ? line.slice('data: '.length) : (match[1] ?? '')
    this.#size += value.length + 1
    if (this.#size > this.#maxEvent) throw new RangeError('an event is too long')
    ;(this.#data ??= []).push(value)
  }

  #resumption(line: string): void {
    const [, name, value = ''] = /^(id|retry): ?(.*)$/s.exec(line) ?? []
    // What a header cannot carry back is no id.
    if (name === 'id' && /^[\x21-\x7e]{1,256}$/.test(value)) this.lastId = value
    if (name === 'retry' && /^\d{1,9}$/.test(value)) this.retryMs = Number(value)
  }
}

/** Where the next line ends; -1 where none does. */
function endOfLine(text: string, from: number, hasReturns: boolean): number {
  if (!hasReturns) return text.indexOf('\n', from)
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === 0x0a || c === 0x0d) return i
  }
  return -1
}
