/** A message as it stands on the wire. */
export interface WireMessage {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly body: string
}

/** More than one blank between the three is none of the grammar, but section 3 allows it to be read, and llhttp does: as this one. */
const LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([\x21-\x7e]+) +HTTP\/1\.1$/
// oxlint-disable-next-line no-control-regex -- what no value holds
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([^\0-\x08\x0a-\x1f\x7f]*?)[\t ]*$/
// oxlint-disable-next-line no-control-regex -- as above
const CHUNK = /^([0-9A-Fa-f]{1,8})(?:[\t ]*;[^\0-\x08\x0a-\x1f\x7f]*)?$/

/**
 * The messages of a connection by RFC 9112: lines end with CR LF, nothing is folded, and there is one framing. Only where nothing
 * can be read in two ways is it as patient as llhttp: several blanks in a request line, and any ends of lines before it.
 * Written for nothing but to be compared with.
 *
 * @param text each character is one byte
 * @returns the whole messages up to the first that is none
 */
export function strictMessages(text: string): WireMessage[] {
  const messages: WireMessage[] = []
  let at = 0
  const line = (): string | undefined => {
    const end = text.indexOf('\r\n', at)
    if (end < 0) return undefined
    const one = text.slice(at, end)
    at = end + 2
    return one
  }
  const fields = (): string[] | undefined => {
    const all: string[] = []
    for (;;) {
      const one = line()
      if (one === '') return all
      const [, name, value] = (one !== undefined && FIELD.exec(one)) || []
      if (name === undefined || value === undefined) return undefined
      all.push(name, value)
    }
  }
  const take = (length: number): string | undefined => {
    if (at + length > text.length) return undefined
    at += length
    return text.slice(at - length, at)
  }
  const chunks = (): string | undefined => {
    let body = ''
    for (;;) {
      const [, size] = CHUNK.exec(line() ?? '') ?? []
      if (size === undefined) return undefined
      const length = Number.parseInt(size, 16)
      if (length === 0) return fields() ? body : undefined
      const data = take(length)
      if (data === undefined || line() !== '') return undefined
      body += data
    }
  }
  for (;;) {
    // An empty line before a message is to be overlooked (section 2.2); llhttp overlooks several, and half of one too.
    while (text[at] === '\r' || text[at] === '\n') at++
    const [, method, url] = LINE.exec(line() ?? '') ?? []
    if (method === undefined || url === undefined) return messages
    const rawHeaders = fields()
    if (!rawHeaders) return messages
    const all = (name: string): string[] =>
      rawHeaders.filter((_one, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name)
    const lengths = all('content-length')
    const codings = all('transfer-encoding')
    const [length = '0'] = lengths
    if (lengths.length + codings.length > 1 || !/^\d{1,15}$/.test(length)) return messages
    if (codings.length === 1 && codings[0]?.toLowerCase() !== 'chunked') return messages
    const body = codings.length === 1 ? chunks() : take(Number(length))
    if (body === undefined) return messages
    messages.push({ method, url, rawHeaders, body })
  }
}
