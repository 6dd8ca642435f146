/** Stands for what may be a value: an account in a path, a key that is an id. */
export const GAP = '{}'

/** Words of paths and members: an id of four digits or more is none. */
const WORD = /^[A-Za-z_][A-Za-z_-]*(?:\d{1,3}[A-Za-z_-]*)?$/
const FIELD = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/
const TOOL = /^[A-Za-z_][A-Za-z0-9_.:/-]{0,63}$/
const HOST =
  /^(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,63}){0,15}))(?::\d{1,5})?$/
export const isWord = (text: string): boolean => text.length <= 40 && WORD.test(text)

/** Names that come from callers and upstreams are shown only where they can be no value, and never break a line. */
export const plain = {
  word: (text: string): string => (isWord(text) ? text : GAP),
  field: (text: string): string => (FIELD.test(text) && !/\d{4}/.test(text) ? text : GAP),
  tool: (text: string): string => (TOOL.test(text) && !/\d{4}/.test(text) ? text : GAP),
  /** Its version may be a date. */
  model: (text: string): string => (TOOL.test(text) && !/\d{9}/.test(text) ? text : GAP),
  host: (text: string): string => (HOST.test(text.toLowerCase()) ? text.toLowerCase() : GAP),
} as const
