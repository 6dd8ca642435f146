/** RFC 6570, as much of it as can be read backwards without a guess: `{name}` and `{+name}`, each variable once. */
export interface UriTemplate {
  readonly variables: readonly string[]
  /**
   * What the variables stand for in a URI, in time linear in its length; undefined where it does not fit, is longer than `MAX_URI`, or
   * could be read in two ways.
   */
  match(uri: string): Readonly<Record<string, string>> | undefined
}

/** Characters of a URI, and of a template. */
export const MAX_URI = 2048
const MAX_VARIABLES = 16
const EXPRESSION = /\{(\+?)([A-Za-z_][A-Za-z0-9_.]*)\}/g
/** What values may have (RFC 3986): unreserved characters and percent-encoded ones; with `+`, what a path may have beside. */
const SIMPLE = /[A-Za-z0-9._~%-]/
const RESERVED = /[A-Za-z0-9._~%!$&'()*+,;=:@/-]/
const URI = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*:/

interface Parts {
  /** One more than there are variables: around each. */
  readonly literals: readonly string[]
  readonly variables: readonly { readonly name: string; readonly reserved: boolean }[]
}

function readParts(template: string): Parts | undefined {
  if (template.length > MAX_URI || !URI.test(template)) return undefined
  const variables = [...template.matchAll(EXPRESSION)].map(([, operator, name = '']) => ({
    name,
    reserved: operator === '+',
  }))
  const literals = template.split(/\{[^}]*\}/)
  const plain = literals.every((literal) => !/[{}\\^`"<>|]/.test(literal))
  if (!plain || literals.length !== variables.length + 1) return undefined
  if (variables.length > MAX_VARIABLES) return undefined
  if (new Set(variables.map(({ name }) => name)).size !== variables.length) return undefined
  // Nothing may stand for the scheme: it says who reads the rest.
  return SCHEME.test(literals[0] ?? '') ? { literals, variables } : undefined
}

/** What no value of any variable can contain. */
const outside = ({ variables }: Parts): ((c: string) => boolean) => {
  const inside = variables.some(({ reserved }) => reserved) ? RESERVED : SIMPLE
  return (c) => !inside.test(c)
}

/**
 * Whether every reader finds the same values: between any two variables stands a character that no value of any of them can
 * contain. A URI that fits has those characters as often as the template, so that no reader can take one of them for a
 * value's, whatever its values may contain.
 */
const isCertain = (parts: Parts): boolean =>
  parts.literals.slice(1, -1).every((literal) => literal.split('').some(outside(parts)))

/** Whether a template is one that two readers could take a URI of for different values, as `{a}.{b}` is. */
export function isAmbiguous(template: string): boolean {
  const parts = readParts(template)
  return parts !== undefined && !isCertain(parts)
}

/** Reads a template; a URI without expressions is one, too. Undefined where it is none that can be matched. */
export function readUriTemplate(template: string): UriTemplate | undefined {
  const parts = readParts(template)
  if (!parts || !isCertain(parts)) return undefined
  const { literals, variables } = parts
  const [first = '', ...after] = literals
  const last = after.at(-1) ?? ''
  const isOutside = outside(parts)
  const separating = new Set(after.slice(0, -1).flatMap((one) => one.split('').filter(isOutside)))
  return {
    variables: variables.map(({ name }) => name),
    match(uri) {
      if (uri.length > MAX_URI) return undefined
      if (variables.length === 0) return uri === template ? {} : undefined
      if (!uri.startsWith(first) || !uri.endsWith(last) || !isAsWritten(uri)) return undefined
      const values: [string, string][] = []
      const end = uri.length - last.length
      let at = first.length
      for (const [i, { name, reserved }] of variables.entries()) {
        let to = end
        let next = end
        const literal = after[i]
        if (literal !== undefined && i < variables.length - 1) {
          let mark = at
          while (mark < end && !isOutside(uri.charAt(mark))) mark++
          to = mark - literal.split('').findIndex(isOutside)
          next = to + literal.length
          if (!uri.startsWith(literal, to)) return undefined
        }
        if (to <= at || next > end) return undefined
        const value = decoded(uri.slice(at, to), reserved)
        // Whoever decodes before reading would see one separator more.
        if (value === undefined || value.split('').some((c) => separating.has(c))) return undefined
        values.push([name, value])
        at = next
      }
      return Object.fromEntries(values)
    },
  }
}

/** Whether a URI stays as it is where a reader parses it first (WHATWG URL): no other host in capitals, no dots that step. */
const isAsWritten = (uri: string): boolean => URL.parse(uri)?.href === uri

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
