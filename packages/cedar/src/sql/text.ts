import { SallyportError } from '@sallyport/base'

/** Beyond this a filter is refused: the database would plan for longer than it reads. */
const MAX_TEXT = 1_000_000
const MAX_PARAMETERS = 10_000
const MAX_LIST = 100_000

export function unsupported(what: string): SallyportError {
  return new SallyportError(
    'SP_CEDAR_FILTER_UNSUPPORTED',
    'the policies cannot be written as a filter of rows without changing what they mean',
    { detail: what, fix: 'decide row by row, or rewrite the policy' },
  )
}

/** A quoted SQL identifier. @throws SallyportError `SP_CEDAR_FILTER_UNSUPPORTED` for what PostgreSQL cannot name so */
export function identifier(name: string): string {
  if (name === '' || name.includes('\0') || Buffer.byteLength(name) > 63) {
    throw unsupported(`\`${name.slice(0, 80)}\` is not a name of 1 to 63 bytes`)
  }
  return `"${name.replaceAll('"', '""')}"`
}

/** What the filter's own aliases begin with. */
const ALIAS = '_sp'

/** An alias that `Parameters.number` names, so that a filter's text is the same each time it is made. */
export const aliasPlaceholder = (key: number): string => `\0a${key}\0`

/** The quoted name of the table. @throws SallyportError `SP_CEDAR_FILTER_UNSUPPORTED` for a name the filter itself takes */
export function tableName(name: string): string {
  if (name.startsWith(ALIAS)) throw unsupported(`a table named \`${name}\``)
  return identifier(name)
}

export type SqlType = 'text' | 'bigint' | 'numeric' | 'boolean' | 'inet'

/** The parameters of one filter. A value never becomes part of the text. */
export class Parameters {
  readonly #values: unknown[] = []
  readonly #known = new Map<string, string>()

  one(value: string | boolean, type: SqlType): string {
    return this.#add(checked(value), type)
  }

  list(values: readonly (string | boolean)[], type: SqlType): string {
    if (values.length > MAX_LIST) throw unsupported(`a list of ${values.length} values`)
    return this.#add(values.map(checked), `${type}[]`)
  }

  #add(value: unknown, cast: string): string {
    const key = `${cast} ${JSON.stringify(value)}`
    let text = this.#known.get(key)
    if (text === undefined) {
      if (this.#values.length >= MAX_PARAMETERS) throw unsupported('too many values')
      // U+0000 can stand in no identifier, so a placeholder is not mistaken.
      text = `\0${this.#values.push(value) - 1}\0::${cast}`
      this.#known.set(key, text)
    }
    return text
  }

  /** The text with its parameters numbered from `first`, and the values of those that it uses. */
  number(text: string, first: number): { readonly text: string; readonly values: unknown[] } {
    if (text.length > MAX_TEXT) throw unsupported(`a filter of ${text.length} characters`)
    const used = new Map<number, number>()
    const aliases = new Map<string, string>()
    const values: unknown[] = []
    // eslint-disable-next-line no-control-regex -- the placeholders' own
    const numbered = text.replace(/\0(\d+)\0/g, (_, index: string) => {
      const at = Number(index)
      let number = used.get(at)
      if (number === undefined) {
        number = first + values.push(this.#values[at]) - 1
        used.set(at, number)
      }
      return `$${number}`
    })
    // eslint-disable-next-line no-control-regex -- the placeholders' own
    const named = numbered.replace(/\0a(\d+)\0/g, (_, key: string) => {
      const alias = aliases.get(key) ?? `${ALIAS}${aliases.size + 1}`
      aliases.set(key, alias)
      return alias
    })
    return { text: named, values }
  }
}

function checked(value: string | boolean): string | boolean {
  if (typeof value === 'string' && value.includes('\0')) {
    throw unsupported('a text with the character U+0000, which PostgreSQL cannot hold')
  }
  return value
}
