import { EvaluationError, IpValue } from './value.ts'

const bad = (text: string): EvaluationError =>
  new EvaluationError(`\`${text.slice(0, 60)}\` is not an IP address or range`)

/** Parses Cedar's `ip("…")`: IPv4 or IPv6, optionally with a prefix length; no embedded IPv4, no zone. */
export function parseIp(text: string): IpValue {
  if (text.length > 43) throw bad(text)
  const slash = text.indexOf('/')
  const host = slash < 0 ? text : text.slice(0, slash)
  const v6 = host.includes(':')
  const address = v6 ? parseV6(host) : parseV4(host)
  if (address === undefined) throw bad(text)
  const width = v6 ? 128 : 32
  if (slash < 0) return new IpValue(v6, address, width)
  const prefix = text.slice(slash + 1)
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(prefix) || Number(prefix) > width) throw bad(text)
  return new IpValue(v6, address, Number(prefix))
}

function parseV4(text: string): bigint | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let address = 0n
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined
    address = (address << 8n) | BigInt(part)
  }
  return address
}

function parseV6(text: string): bigint | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')))
  const [head = [], tail = []] = groups
  const missing = 8 - head.length - tail.length
  // A `::` stands for one group at least.
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  let address = 0n
  for (const group of [...head, ...Array<string>(Math.max(missing, 0)).fill('0'), ...tail]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
    address = (address << 16n) | BigInt(`0x${group}`)
  }
  return address
}

/** Whether every address of `a` is one of `b`. */
export function inRange(a: IpValue, b: IpValue): boolean {
  if (a.v6 !== b.v6 || a.prefix < b.prefix) return false
  const drop = BigInt((a.v6 ? 128 : 32) - b.prefix)
  return a.address >> drop === b.address >> drop
}

const LOOPBACK4 = parseIp('127.0.0.0/8')
const LOOPBACK6 = parseIp('::1')
const MULTICAST4 = parseIp('224.0.0.0/4')
const MULTICAST6 = parseIp('ff00::/8')

export const isLoopback = (ip: IpValue): boolean => inRange(ip, ip.v6 ? LOOPBACK6 : LOOPBACK4)
export const isMulticast = (ip: IpValue): boolean => inRange(ip, ip.v6 ? MULTICAST6 : MULTICAST4)

export function renderIp(ip: IpValue): string {
  const parts: string[] = []
  const [count, bits] = ip.v6 ? [8, 16n] : [4, 8n]
  for (let i = count - 1; i >= 0; i--) {
    const part = (ip.address >> (BigInt(i) * bits)) & ((1n << bits) - 1n)
    parts.push(part.toString(ip.v6 ? 16 : 10))
  }
  const host = parts.join(ip.v6 ? ':' : '.')
  return ip.prefix === (ip.v6 ? 128 : 32) ? host : `${host}/${ip.prefix}`
}
