import { canonicalJson, parseJson } from '@sallyport/base'
import type { InputMember } from '@sallyport/network'
import { readForm } from '../../../src/adapters/forms.ts'
import { EventReader } from '../../../src/edge/sse.ts'
import { LineReader } from '../../../src/upstream/lines.ts'
import type { Chance } from '../near-http.ts'
import { changed, cut, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'

const DOCUMENTS = [
  '{"a":1,"b":[true,null,"x"],"c":{"d":-1.5e3}}',
  '[{"a":"\\u00e9\\n"},{"a":""},0,-0,1E2]',
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","arguments":{}}}',
  '"text"',
  '9007199254740991',
]
const JSON_PIECES = [
  ...'{ } [ ] , : " \\ 0 1 - + . e E 01 -0 1.0 1e400 1e-400 9007199254740993 0.1 NaN Infinity true false null tru'.split(
    ' ',
  ),
  ...['"a":2', ',"a":3', '"\\u0061":4', '"__proto__":{}', '"constructor":1', '"":0', ',', '//c\n'],
  ...['\\u0000', '\\ud800', '\\udc00', '\\ud83d\\ude00', '\\/', '\\x', '\\', '\n', '\t', '\0', ' '],
  ...[
    '\u00a0',
    '\ufeff',
    '\u2028',
    'é',
    '😀',
    '\ud800',
    "'",
    '/**/',
    '"a\u0000"',
    '1234567890123456789',
  ],
]

/** Whether a key stands twice in one object of a text that is JSON: by its words, one after another. */
function hasTwice(text: string): boolean {
  const open: (Set<string> | undefined)[] = []
  const words = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]/gs) ?? []
  return words.some((word, i) => {
    if (word === '{') open.push(new Set())
    else if (word === '[') open.push(undefined)
    else if (word === '}' || word === ']') open.pop()
    else if (words[i + 1] === ':' && word.startsWith('"')) {
      const key = String(JSON.parse(word))
      const keys = open.at(-1)
      if (keys?.has(key)) return true
      keys?.add(key)
    }
    return false
  })
}

/** Bytes that are a text, or nearly. */
function bytesOf(text: string, chance: Chance): Buffer {
  const bytes = Buffer.from(text)
  if (chance(8) === 0 && bytes.length > 0) bytes[chance(bytes.length)] = chance(256)
  return bytes
}

const member = (schema: InputMember['schema']): InputMember => ({ schema, required: false })
const LIST = { type: 'set', items: { type: 'string', maxLength: 1000 }, maxItems: 100 } as const
const MEMBERS = { a: member(LIST), b: member(LIST) }
const FORM_PIECES = [
  ...'a b = & + % %20 %26 %3D %C3%A9 %FF 1 [ ] ; ? é %00 &a= &b=1 %2B %EF%BB%BF ~ ! \' ( ) * __proto__=1 # " \\ %ED%A0%80 %F0%9F%98%80 a= %61='.split(
    ' ',
  ),
  ' ',
  '\0',
]

const EVENTS = [
  'data: {"a":1}\n\nevent: x\nid: 1\ndata: one\ndata: two\n\n',
  'data:x\r\rdata\r\n\r\n: comment\n\ndata: last\n\n',
  'id: 7\nretry: 10\ndata: é😀\n\n',
]
const EVENT_PIECES = [
  ...['\n', '\r', '\r\n', '\n\n', '\r\r', ':', ' ', '  ', 'data', 'data:', 'data: ', 'Data: x\n'],
  ...['data : x\n', ' data: x\n', '\ufeff', 'datax: y\n', '\u2028', '\u0085', '\0', '\v', '\f'],
  ...['event: message\n', 'id\n', 'id: \0\n', 'retry: x\n', '{"a":', '}', '😀', 'é'],
]

/** By WHATWG HTML, section 9.2.6, of the whole text. */
function eventsOf(bytes: Buffer): string[] {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  const lines = text.split(/\r\n|\n|\r/)
  // What follows the last end of a line is no line.
  lines.pop()
  const events: string[] = []
  let data = ''
  for (const line of lines) {
    if (line === '') {
      if (data !== '') events.push(data.slice(0, -1))
      data = ''
      continue
    }
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1)
    if (field === 'data') data += `${value.startsWith(' ') ? value.slice(1) : value}\n`
  }
  return events
}

/** Bytes: so few that some lines are too long. */
const MAX_LINE = 12

export const texts: readonly Kind[] = [
  {
    name: 'JSON, beside the parser of JavaScript and a list of its keys',
    share: 30,
    read: (chance) => {
      const text = changed(pick(chance, DOCUMENTS), JSON_PIECES, chance, 3)
      const bytes = bytesOf(text, chance)
      const ours = orRefused(() => parseJson(bytes, { maxDepth: 32 }))
      if (ours === undefined) return 'refused'
      const theirs = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
      demandSame('JSON', theirs, ours, JSON.parse(theirs))
      demandSame('keys twice in', theirs, false, hasTwice(theirs))
      const forwarded = canonicalJson(ours)
      demandSame('canonical JSON', forwarded, canonicalJson(parseJson(forwarded)), forwarded)
      demandSame('canonical JSON', forwarded, canonicalJson(JSON.parse(theirs)), forwarded)
      return 'same'
    },
  },
  {
    name: 'forms, beside those of browsers',
    share: 20,
    read: (chance) => {
      const form = changed('a=1&b=x+y&a=%C3%A9', FORM_PIECES, chance, 3)
      const ours = orRefused(() => readForm(Buffer.from(form), MEMBERS, []))
      if (!ours) return 'refused'
      const theirs = new URLSearchParams(form)
      const names = [...new Set(theirs.keys())]
      const all = Object.fromEntries(names.map((name) => [name, theirs.getAll(name)]))
      demandSame('form', form, ours, all)
      return 'same'
    },
  },
  {
    name: 'event streams in pieces, beside a reader of the whole',
    share: 20,
    read: (chance) => {
      const bytes = bytesOf(changed(pick(chance, EVENTS), EVENT_PIECES, chance, 4), chance)
      const reader = new EventReader(10_000)
      const ours = orRefused(
        () => cut(bytes, chance).flatMap((piece) => reader.push(piece)),
        TypeError,
      )
      if (!ours) return 'refused'
      // A character that is not whole at the end is no error yet.
      const theirs = orRefused(() => eventsOf(bytes), TypeError)
      if (!theirs) return 'alone'
      demandSame('events', bytes.toString('latin1'), ours, theirs)
      return ours.length > 0 ? 'same' : 'refused'
    },
  },
  {
    name: 'lines in pieces, beside the whole',
    share: 10,
    read: (chance) => {
      const text = changed('{"a":1}\n[2]\r\n\n "x" \n', JSON_PIECES, chance, 3)
      const bytes = bytesOf(text, chance)
      const reader = new LineReader(MAX_LINE)
      const ours = orRefused(() => {
        const lines = cut(bytes, chance).flatMap((piece) => [...reader.push(piece)])
        const last = reader.end()
        return [...lines, ...(last ? [last] : [])].map((line) => line.toString('latin1'))
      })
      const whole = bytes.toString('latin1')
      const lines = whole.split('\n')
      const theirs = lines.some((line) => line.length > MAX_LINE)
        ? null
        : lines.filter((line) => /[^ \t\r]/.test(line))
      demandSame('lines', whole, ours ?? null, theirs)
      return ours !== undefined && ours.length > 0 ? 'same' : 'refused'
    },
  },
]
