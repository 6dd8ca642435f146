/** RFC 6570, as much of it as can be read backwards without a guess: `{name}` and `{+name}`, each variable once. */
export interface UriTemplate {
  readonly variables: readonly string[]
  /** What the variables stand for in a URI; undefined where it does not fit, or could be read in two ways. */
  match(uri: string): Readonly<Record<string, string>> | undefined
}

const EXPRESSION = /\{(\+?)([A-Za-z_][A-Za-z0-9_.]*)\}/g
/** RFC 3986: unreserved characters and percent-encoded ones; with `+`, what a path may have beside. */
const SIMPLE = '((?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+)'
const RESERVED = "((?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+)"
const URI = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/
const MAX_VARIABLES = 16

/** Reads a template; a URI without expressions is one, too. Undefined where it is none that can be matched. */
export function readUriTemplate(template: string): UriTemplate | undefined {
  const parts = [...template.matchAll(EXPRESSION)]
  const variables = parts.map((part) => part[2] ?? '')
  const literals = template.split(/\{[^}]*\}/)
  const plain = literals.every((literal) => !/[{}\\^`"<>|]/.test(literal))
  if (!plain || literals.length !== parts.length + 1 || parts.length > MAX_VARIABLES)
    return undefined
  if (new Set(variables).size !== variables.length || !URI.test(template)) return undefined
  // Two variables with nothing between them could be told apart in many ways.
  if (literals.slice(1, -1).includes('')) return undefined
  // Nothing may stand for the scheme: it says who reads the rest.
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:/.test(literals[0] ?? '')) return undefined
  const pattern = new RegExp(
    `^${literals
      .map(
        (literal, i) =>
          literal.replaceAll(/[$()*+.?[\\\]^{|}/-]/g, '\\$&') +
          (parts[i] ? (parts[i][1] === '+' ? RESERVED : SIMPLE) : ''),
      )
      .join('')}$`,
  )
  return {
    variables,
    match(uri) {
      const found = pattern.exec(uri)
      if (!found) return undefined
      const values: [string, string][] = []
      for (const [i, name] of variables.entries()) {
        const value = decoded(found[i + 1] ?? '', parts[i]?.[1] === '+')
        if (value === undefined) return undefined
        values.push([name, value])
      }
      return Object.fromEntries(values)
    },
  }
}

/** A value in its only spelling; undefined for any other, and for what steps up or hides a separator. */
function decoded(raw: string, reserved: boolean): string | undefined {
  let value: string
  try {
    value = decodeURIComponent(raw)
  } catch {
    return undefined
  }
  const again = encodeURIComponent(value)
  const spelt = reserved
    ? again.replaceAll(/%(?:21|24|26|27|28|29|2A|2B|2C|3B|3D|3A|40|2F)/g, (code) =>
        decodeURIComponent(code),
      )
    : again.replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  if (spelt !== raw || /[\p{Cc}\\]/u.test(value)) return undefined
  if (!reserved && value.includes('/')) return undefined
  return value.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : value
}
