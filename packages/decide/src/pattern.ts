import { createContext, Script } from 'node:vm'
import { SallyportError } from '@sallyport/base'

/** A pattern is the operator's own, but a careless one must not meet a long text. */
const MAX_LENGTH = 4096

/** How long a pattern that can backtrack may take before the text counts as not matching. */
const TIMEOUT_MS = 100

/** How often a match is begun again because the process was not let run. */
const MAX_PAUSES = 10

type Matcher = (text: string) => boolean

/** As many as a declaration has; entries are the operator's, never a caller's. */
const matchers = new Map<string, Matcher>()

/**
 * Whether a text matches a declared pattern (JSON Schema's `pattern`: ECMAScript, `u` flag, not anchored). A match that
 * takes too long is none.
 *
 * @throws SallyportError `SP_INPUT_SCHEMA` for a pattern that is not a regular expression
 */
export function matchesPattern(pattern: string, text: string): boolean {
  if (text.length > MAX_LENGTH) return false
  let matcher = matchers.get(pattern)
  if (!matcher) matchers.set(pattern, (matcher = compile(pattern)))
  return matcher(text)
}

function compile(pattern: string): Matcher {
  let regexp: RegExp
  try {
    regexp = new RegExp(pattern, 'u')
  } catch (cause) {
    throw new SallyportError('SP_INPUT_SCHEMA', 'the declared pattern cannot be used', {
      detail: `\`${pattern}\` is not a regular expression`,
      cause,
    })
  }
  return canBacktrack(pattern) ? watched(regexp) : (text) => regexp.test(text)
}

/**
 * Whether a group is repeated, or more than one part of the pattern can match a varying number of characters: one of
 * these is what it takes to backtrack more than quadratically. Errs towards yes.
 *
 * @internal
 */
export function canBacktrack(pattern: string): boolean {
  const bare = pattern
    .replace(/\\[^]/g, 'x')
    .replace(/\[[^\]]*\]/g, 'x')
    .replace(/\(\?(?:[:=!]|<[=!]|<\w+>)/g, '(')
  return /\)[*+?{]/.test(bare) || (bare.match(/[*+?]|\{\d+,\d*\}/g) ?? []).length > 1
}

/** Only code that runs under `vm` can be stopped half-way; the context holds nothing but the pattern and the text. */
function watched(regexp: RegExp): Matcher {
  const script = new Script('pattern.test(text)')
  const sandbox = createContext({ pattern: regexp, text: '' })
  const run = (): boolean => script.runInContext(sandbox, { timeout: TIMEOUT_MS }) === true
  return (text) => {
    sandbox['text'] = text
    const before = process.cpuUsage()
    try {
      for (let left = MAX_PAUSES; ; left--) {
        try {
          return run()
        } catch {
          const { user, system } = process.cpuUsage(before)
          // The clock went on while this process did not: the machine is busy, and the pattern need not be slow.
          if (left === 0 || user + system > (TIMEOUT_MS * 1000) / 2) return false
        }
      }
    } finally {
      sandbox['text'] = ''
    }
  }
}
