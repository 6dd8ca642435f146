const two = (n: number): string => String(n).padStart(2, '0')

/** `14:03:09` in UTC, as policies read the clock. */
export function clockTime(at: number): string {
  const d = new Date(at)
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`
}

/** `2026-11-23 14:03:09` in UTC. */
export function dateTime(at: number): string {
  const d = new Date(at)
  return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())} ${clockTime(at)}`
}

/** `4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h` for a span of milliseconds. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** `just now`, `12 s ago`, `4 min ago`. */
export function ago(at: number, now: number): string {
  const ms = now - at
  if (ms < 2000) return 'just now'
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ago`
  return `${Math.floor(ms / 86_400_000)} d ago`
}

const numbers = new Intl.NumberFormat('en-GB')

/** `1,204,331`. */
export function count(n: number): string {
  return numbers.format(n)
}

/** The instance part of `spiffe://TD/agent/NAME/INSTANCE`; the whole text where it is not one. */
export function instanceName(spiffeId: string): string {
  return /^spiffe:\/\/[^/]+\/agent\/[^/]+\/(.+)$/.exec(spiffeId)?.[1] ?? spiffeId
}

/** The agent NAME of a SPIFFE id of an agent or an instance; the whole text where it is not one. */
export function agentName(subject: string): string {
  return /^spiffe:\/\/[^/]+\/agent\/([^/]+)/.exec(subject)?.[1] ?? subject
}

/** The operator NAME of an incident about a person. */
export function operatorOf(subject: string): string | undefined {
  return /^spiffe:\/\/[^/]+\/operator\/(.+)$/.exec(subject)?.[1]
}

/** What an incident is about, in short, and which part of it. */
export function subjectName(subject: string): { name: string; part: string } {
  const operator = operatorOf(subject)
  if (operator !== undefined) return { name: operator, part: 'operator' }
  const part = instanceName(subject)
  return { name: agentName(subject), part: part === subject ? 'all instances' : part }
}

/** `1 call`, `3 calls`. */
export function plural(n: number, one: string, many: string = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

const BROWSERS = [
  [/\bFirefox\/(\d+)/, 'Firefox'],
  [/\bEdg\/(\d+)/, 'Edge'],
  [/\bChrome\/(\d+)/, 'Chromium'],
  [/\bVersion\/(\d+).*Safari/, 'Safari'],
] as const

/** What a browser says it is, in short; anything else by its beginning. */
export function browserName(userAgent: string): string {
  for (const [pattern, name] of BROWSERS) {
    const version = pattern.exec(userAgent)?.[1]
    if (version !== undefined) return `${name} ${version}`
  }
  return userAgent === '' ? 'no name' : userAgent.slice(0, 40)
}
