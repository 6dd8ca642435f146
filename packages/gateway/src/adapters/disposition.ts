const ASCII = /^[A-Za-z0-9_(][A-Za-z0-9 ._()-]{0,126}$/
const PARAMETER = /^; ?(filename\*?)=("[^"\\]*"|[!#$&+.^_`|~A-Za-z0-9'%-]+)/i
/** RFC 8187, section 3.2.1, in this one charset and without a language. */
const EXTENDED = /^UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})+)$/i
/** What leads to another place, or is shown as something else than it is. */
const UNFIT = /[/\\:"*?<>|%;]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]|^[.\s~-]|[.\s]$/u
const MAX_BYTES = 255

/**
 * `Content-Disposition` of an answer, written anew: the name of a file, where there is one and it has one reading (RFC 6266).
 *
 * @returns undefined for whatever else it is
 */
export function dispositionOf(given: string | undefined): string | undefined {
  const type = given === undefined ? undefined : /^(?:attachment|inline)(?=;|$)/i.exec(given)?.[0]
  if (given === undefined || type === undefined) return undefined
  const names = new Map<string, string>()
  let rest = given.slice(type.length)
  while (rest !== '') {
    const parameter = PARAMETER.exec(rest)
    if (!parameter) return undefined
    const [whole, name = '', value = ''] = parameter
    if (names.has(name.toLowerCase())) return undefined
    names.set(name.toLowerCase(), value)
    rest = rest.slice(whole.length)
  }
  const plain = names.get('filename')?.replaceAll(/^"|"$/g, '')
  const extended = names.get('filename*')
  if (extended !== undefined) return written(decoded(extended))
  // What stands beyond ASCII there, each reader reads in a charset of its own.
  return plain !== undefined && /^[\x20-\x7e]*$/.test(plain) ? written(plain) : undefined
}

function decoded(value: string): string | undefined {
  const [, text] = EXTENDED.exec(value) ?? []
  try {
    return text === undefined ? undefined : decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function written(name: string | undefined): string | undefined {
  if (!name || UNFIT.test(name) || Buffer.byteLength(name) > MAX_BYTES) return undefined
  if (ASCII.test(name)) return `attachment; filename="${name}"`
  const text = encodeURIComponent(name.normalize('NFC')).replaceAll(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  return `attachment; filename*=UTF-8''${text}`
}
