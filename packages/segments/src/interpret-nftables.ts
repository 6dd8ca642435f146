import { SallyportError } from '@sallyport/base'
import { reach } from '@sallyport/network'
import type { Matrix } from '@sallyport/network'

// Written against nft(8), not against the emitter: it reads the emitted text and `nft list table` alike, and runs
// packets through the rules one by one.

interface Packet {
  readonly 'ip saddr': string
  readonly 'ip daddr': string
  readonly iifname: string
  readonly proto: 'tcp' | 'udp'
  readonly port: string
  readonly state: 'new' | 'established'
}

type Verdict = 'accept' | 'drop' | undefined
type Rule = (packet: Packet) => Verdict

interface Table {
  readonly sets: ReadonlyMap<string, ReadonlySet<string>>
  /** Address → node, from the comments on the elements. */
  readonly nodes: ReadonlyMap<string, string>
  readonly rules: readonly Rule[]
  readonly policy: 'accept' | 'drop'
}

export interface NftablesOptions {
  /** Nodes taken to be in the quarantine set. */
  readonly quarantined?: readonly string[]
  /** Whether the packets open a connection (default) or belong to one that stands. */
  readonly state?: 'new' | 'established'
}

const WORLD = '198.51.100.7'
const ANY_OTHER_PORT = '0'

/**
 * What the ruleset would let through: every ordered pair of nodes, on every port that some set names and on one that
 * none does (reported as port 0), from the interface that the sender is bound to.
 *
 * @throws SallyportError `SP_SEGMENT_UNREADABLE` for a statement that it does not know
 */
export function interpretNftables(text: string, options: NftablesOptions = {}): Matrix {
  const table = new Reader(text, options.quarantined ?? []).table()
  const ports = new Set([ANY_OTHER_PORT])
  const interfaces = new Map<string, string>()
  for (const elements of table.sets.values()) {
    for (const element of elements) {
      const parts = element.split(' . ')
      const last = parts.at(-1) ?? ''
      if (/^\d+$/.test(last)) ports.add(last)
      if (parts.length === 2 && table.nodes.has(last)) interfaces.set(last, parts[0] ?? '')
    }
  }
  const hosts = new Map([...table.nodes, [WORLD, 'world']])
  const foreign = (node: string): boolean => node === 'world' || node === 'dns'
  const allowed = new Set<string>()
  for (const [source, from] of hosts) {
    for (const [target, to] of hosts) {
      if (from === to || (foreign(from) && foreign(to))) continue
      for (const port of ports) {
        for (const proto of ['tcp', 'udp'] as const) {
          const packet: Packet = {
            'ip saddr': source,
            'ip daddr': target,
            iifname: interfaces.get(source) ?? 'uplink0',
            proto,
            port,
            state: options.state ?? 'new',
          }
          if (judge(table, packet) === 'accept') allowed.add(reach(from, to, Number(port), proto))
        }
      }
    }
  }
  return { nodes: [...hosts.values()].toSorted(), allowed }
}

function judge(table: Table, packet: Packet): 'accept' | 'drop' {
  for (const rule of table.rules) {
    const verdict = rule(packet)
    if (verdict) return verdict
  }
  return table.policy
}

/** A field of a packet as a set's key holds it; undefined when the packet has none, which matches nothing. */
function fieldOf(packet: Packet, field: string): string | undefined {
  switch (field) {
    case 'ip saddr':
    case 'ip daddr':
    case 'iifname':
      return packet[field]
    case 'tcp dport':
    case 'udp dport':
      return field.startsWith(packet.proto) ? packet.port : undefined
    default:
      throw unreadable(`the expression \`${field}\``)
  }
}

class Reader {
  readonly #tokens: readonly string[]
  #at = 0
  readonly #sets = new Map<string, Set<string>>()
  readonly #nodes = new Map<string, string>()
  readonly #rules: Rule[] = []
  readonly #quarantined: readonly string[]
  #policy: 'accept' | 'drop' = 'accept'
  #chains = 0

  constructor(text: string, quarantined: readonly string[]) {
    const plain = text.replace(/^\s*#.*$/gm, '')
    this.#tokens = plain.match(/"[^"\n]*"|!=|[{};,=\n]|[^\s{};,="!]+/g) ?? []
    this.#quarantined = quarantined
  }

  table(): Table {
    for (;;) {
      this.#skipLines()
      const word = this.#next()
      if (word === '') break
      // `add table` and `delete table` clear an earlier version and change nothing of this one.
      if (word === 'add' || word === 'delete') this.#line()
      else if (word === 'table') this.#body()
      else throw unreadable(`\`${word}\``)
    }
    if (this.#chains !== 1) throw unreadable('not exactly one chain')
    const quarantine = this.#sets.get('sp_quarantined')
    for (const node of this.#quarantined) {
      const address = [...this.#nodes].find(([, name]) => name === node)?.[0]
      if (address === undefined || !quarantine) throw unreadable('no quarantine for such a node')
      quarantine.add(address)
    }
    return { sets: this.#sets, nodes: this.#nodes, rules: this.#rules, policy: this.#policy }
  }

  #next(): string {
    return this.#tokens[this.#at++] ?? ''
  }

  #peek(): string {
    return this.#tokens[this.#at] ?? ''
  }

  #skipLines(): void {
    while (this.#peek() === '\n' || this.#peek() === ';') this.#at++
  }

  #expect(word: string): void {
    const found = this.#next()
    if (found !== word) throw unreadable(`\`${found}\` where \`${word}\` belongs`)
  }

  /** The words up to the end of the line or statement. */
  #line(): string[] {
    const words: string[] = []
    while (!['\n', ';', '', '}'].includes(this.#peek())) words.push(this.#next())
    return words
  }

  #body(): void {
    this.#expect('inet')
    this.#next()
    this.#expect('{')
    for (;;) {
      this.#skipLines()
      const word = this.#next()
      if (word === '}') return
      if (word === 'set') this.#set()
      else if (word === 'chain') this.#chain()
      else throw unreadable(`\`${word}\` in the table`)
    }
  }

  #set(): void {
    const elements = new Set<string>()
    this.#sets.set(this.#next(), elements)
    this.#expect('{')
    for (;;) {
      this.#skipLines()
      const word = this.#next()
      if (word === '}') return
      if (word === 'type') this.#line()
      else if (word === 'elements') this.#elements(elements)
      else throw unreadable(`\`${word}\` in a set`)
    }
  }

  #elements(elements: Set<string>): void {
    this.#expect('=')
    this.#expect('{')
    let words: string[] = []
    for (;;) {
      const word = this.#next()
      if (word === '') throw unreadable('an unfinished set')
      if (word === '\n') continue
      if (word !== ',' && word !== '}') {
        words.push(word)
        continue
      }
      const comment = words.indexOf('comment')
      const key = (comment === -1 ? words : words.slice(0, comment)).map(unquote).join(' ')
      if (key !== '') elements.add(key)
      if (comment !== -1) this.#nodes.set(key, unquote(words[comment + 1] ?? ''))
      words = []
      if (word === '}') return
    }
  }

  #chain(): void {
    this.#chains++
    this.#next()
    this.#expect('{')
    for (;;) {
      this.#skipLines()
      if (this.#peek() === '}') {
        this.#next()
        return
      }
      const words = this.#line()
      if (words[0] === 'type') {
        if (words.slice(0, 4).join(' ') !== 'type filter hook forward')
          throw unreadable('another hook')
      } else if (words[0] === 'policy') {
        this.#policy = words[1] === 'accept' ? 'accept' : 'drop'
      } else this.#rules.push(this.#rule(words))
    }
  }

  /** Matches from left to right, then a verdict: a rule applies when every match holds. */
  #rule(words: readonly string[]): Rule {
    const verdict = words.at(-1)
    if (verdict !== 'accept' && verdict !== 'drop')
      throw unreadable(`the rule \`${words.join(' ')}\``)
    const matches: ((packet: Packet) => boolean)[] = []
    let fields: string[] = []
    for (let i = 0; i < words.length - 1; i++) {
      const word = words[i] ?? ''
      if (word === 'ct' && words[i + 1] === 'state') {
        i += 2
        const states = [words[i] ?? '']
        while (words[i + 1] === ',') states.push(words[(i += 2)] ?? '')
        matches.push((packet) => states.includes(packet.state))
      } else if (word === 'ip' || word === 'tcp' || word === 'udp') {
        fields.push(`${word} ${words[++i] ?? ''}`)
      } else if (word === 'iifname') fields.push(word)
      else if (word === '.') continue
      else if (word === '!=' || word.startsWith('@')) {
        const negated = word === '!='
        const name = (negated ? (words[++i] ?? '') : word).slice(1)
        const elements = this.#sets.get(name)
        if (!elements || fields.length === 0) throw unreadable(`the set \`${name}\``)
        const wanted = fields
        matches.push((packet) => {
          const key = wanted.map((field) => fieldOf(packet, field))
          // A match on a header that the packet lacks fails, negated or not.
          if (key.includes(undefined)) return false
          return elements.has(key.join(' . ')) !== negated
        })
        fields = []
      } else throw unreadable(`\`${word}\` in a rule`)
    }
    if (fields.length > 0) throw unreadable(`the rule \`${words.join(' ')}\``)
    return (packet) => (matches.every((match) => match(packet)) ? verdict : undefined)
  }
}

const unquote = (word: string): string => word.replaceAll('"', '')

function unreadable(what: string): SallyportError<'SP_SEGMENT_UNREADABLE'> {
  return new SallyportError(
    'SP_SEGMENT_UNREADABLE',
    `the ruleset has ${what}, which is not understood`,
    {
      fix: 'emit the file again with `sallyport segment emit`',
    },
  )
}
