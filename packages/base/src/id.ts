import { hash, randomFillSync } from 'node:crypto'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

const RANDOM = 16
/** Random bytes that no id has yet, and as ids spell them: asking for a few at a time takes longer than making an id of them. */
const random = Buffer.alloc(256 * RANDOM)
let spelled = ''
let used = 0

/** Of the millisecond that the last id was made in. */
let lastTime = Number.NaN
let lastText = ''

/**
 * A fresh, unguessable, time-ordered id: `PREFIX_` + 10 characters of time + 16 of randomness (80 bits),
 * Crockford base 32, lower case.
 */
export function newId(prefix: string, now: number = Date.now()): string {
  if (now !== lastTime) {
    lastTime = now
    lastText = timeText(now)
  }
  if (used === spelled.length) refill()
  return `${prefix}_${lastText}${spelled.slice(used, (used += RANDOM))}`
}

function refill(): void {
  randomFillSync(random)
  for (let i = 0; i < random.length; i++) random[i] = ALPHABET.charCodeAt((random[i] ?? 0) & 31)
  spelled = random.toString('latin1')
  used = 0
}

function timeText(now: number): string {
  let time = ''
  for (let rest = now, i = 0; i < 10; i++) {
    time = ALPHABET.charAt(rest % 32) + time
    rest = Math.floor(rest / 32)
  }
  return time
}

/** SHA-256 in lower-case hex. */
export function sha256Hex(data: string | Uint8Array): string {
  return hash('sha256', data, 'hex')
}
