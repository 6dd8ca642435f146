import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue, SourceSpan } from '@sallyport/base'
import type { Problem } from './problem.ts'
import { escapePointer, readYaml } from './read-yaml.ts'
import type { Located, YamlLimits } from './read-yaml.ts'

/** API descriptions of whole banks: hundreds of operations, and the schemas of all of them. */
const YAML: YamlLimits = { maxBytes: 4_194_304, maxDepth: 64, maxNodes: 400_000 }
const MAX_JSON_BYTES = 16_777_216
const MAX_DEPTH = 64

/**
 * Reads an API description: YAML as of `readYaml`, or JSON, which may be larger, since it is read faster.
 */
export function readDescription(
  text: string,
  file: string,
): { readonly located?: Located; readonly problems: readonly Problem[] } {
  if (!/^\s*\{/.test(text)) return readYaml(text, file, YAML)
  let value: JsonValue
  try {
    value = parseJson(text, { maxBytes: MAX_JSON_BYTES, maxDepth: MAX_DEPTH })
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error
    // In braces, and not JSON: YAML may have comments, and keys without quotes.
    if (error.code === 'SP_JSON_SYNTAX') return readYaml(text, file, YAML)
    const span: SourceSpan = { file, line: 1, column: 1 }
    const problem: Problem = {
      code: error.code === 'SP_JSON_DUPLICATE_KEY' ? 'SP_NETWORK_DUPLICATE_KEY' : 'SP_NETWORK_YAML',
      message: error.message,
      why: 'two readers could understand the text differently',
      fix: 'correct the text; `example` members are not needed and may be taken out',
      span,
    }
    return { problems: [problem] }
  }
  const at = (pointer: string): SourceSpan => locate(text, file, pointer)
  return { located: { file, value, at, keyAt: at }, problems: [] }
}

/** Where the value of a pointer stands: found by reading up to it, which only somebody who is told of a mistake waits for. */
function locate(text: string, file: string, pointer: string): SourceSpan {
  const offset = new Finder(text).find(pointer)
  const before = text.slice(0, offset)
  const line = before.split('\n').length
  return { file, line, column: offset - before.lastIndexOf('\n') }
}

/** Walks a text that is known to be JSON. */
class Finder {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  find(wanted: string): number {
    let found = 0
    const visit = (pointer: string): boolean => {
      this.#space()
      // The innermost that there is of what is wanted.
      if (wanted === pointer || wanted.startsWith(`${pointer}/`)) found = this.#at
      if (wanted === pointer) return true
      return this.#children(pointer, wanted, visit)
    }
    visit('')
    return found
  }

  #children(pointer: string, wanted: string, visit: (pointer: string) => boolean): boolean {
    const open = this.#text[this.#at]
    if (open !== '{' && open !== '[') {
      this.#scalar()
      return false
    }
    const inside = wanted.startsWith(`${pointer}/`)
    this.#at++
    for (let i = 0; ; i++) {
      this.#space()
      const c = this.#text[this.#at]
      if (c === '}' || c === ']' || c === undefined) {
        this.#at++
        return false
      }
      let name = String(i)
      if (open === '{') {
        // A text of JSON, as it was read before.
        name = JSON.parse(this.#scalar()) as string
        this.#space()
        this.#at++
      }
      // What does not lie on the way is passed over without a name.
      const next = inside ? `${pointer}/${escapePointer(name)}` : '?'
      if (visit(next)) return true
      this.#space()
      if (this.#text[this.#at] === ',') this.#at++
    }
  }

  #scalar(): string {
    const scalar = /"(?:[^"\\]|\\.)*"|[^\s,\]}]+/y
    scalar.lastIndex = this.#at
    const [text = ''] = scalar.exec(this.#text) ?? []
    this.#at += Math.max(1, text.length)
    return text
  }

  #space(): void {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++
  }
}
