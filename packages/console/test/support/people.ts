import { createHash } from 'node:crypto'
import { canonicalJson } from '../../src/lib/canonical.ts'
import type {
  Alarm,
  BreakGlass,
  Recovery,
  ReviewStatement,
  SessionListing,
} from '../../src/api/types.ts'
import type { Ask, Result, Signing } from './world.ts'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Who is signed in, in the fixture: sessions end, a recovery is confirmed, the glass breaks and is reviewed. */
export class PeopleWorld {
  sessions: SessionListing[]
  readonly alarms: Alarm[] = []
  readonly recoveries: Recovery[] = []
  readonly glass: Mutable<BreakGlass>[] = []

  constructor() {
    const now = Date.now()
    const session = (
      id: string,
      operator: string,
      over: Partial<SessionListing> = {},
    ): SessionListing => ({
      ...{ id, operator, method: 'passkey', roles: ['admin'], userAgent: FIREFOX },
      ...{ address: 'loopback', startedAt: now - 3_600_000, lastUsed: now - 60_000 },
      ...{ expiresAt: now + 7 * 3_600_000, idleAt: now + 14 * 60_000, current: false },
      ...over,
    })
    this.sessions = [
      session('ses_1', 'olivia', { current: true }),
      session('ses_2', 'viktor', { roles: ['viewer'], method: 'oidc', address: '192.0.2.7' }),
    ]
  }

  answer(ask: Ask, [kind, id, act, step]: readonly string[], signing: Signing): Result | undefined {
    const own = (): boolean => signing.signer(read(ask.body, 'response')) === ask.operator
    const options = { status: 200, body: signing.options(undefined) }
    const refused = { status: 401, body: { code: 'SP_API_LOGIN', detail: 'not accepted' } }
    const now = Date.now()
    if (step === 'options') {
      const found = this.glass.find((one) => one.id === id)
      if (kind !== 'break-glass' || !found) return options
      const statement = reviewOf(found, ask.operator, String(read(ask.body, 'text')))
      return { status: 200, body: { statement, options: signing.options(statement) } }
    }
    switch (`${kind}/${act === undefined ? (id ?? '') : act}`) {
      case 'sessions/':
        return { status: 200, body: this.sessions }
      case 'sessions/revoke':
        this.sessions = this.sessions.filter((one) => one.id !== id)
        return { status: 200, body: {} }
      case 'alarms/':
        return { status: 200, body: this.alarms }
      case 'recoveries/':
        return { status: 200, body: this.recoveries }
      case 'recoveries/options':
      case 'break-glass/options':
        return options
      case 'recoveries/confirm': {
        if (!own()) return refused
        const operator = String(read(ask.body, 'operator'))
        this.recoveries.push({ operator, confirmedBy: ask.operator, expiresAt: now + 600_000 })
        return { status: 200, body: {} }
      }
      case 'break-glass/':
        return { status: 200, body: this.glass }
      case 'break-glass/open':
        if (!own()) return refused
        this.break(ask.operator, String(read(ask.body, 'reason')))
        return { status: 200, body: this.glass.at(-1) }
      case 'break-glass/end': {
        const found = this.glass.find((one) => one.id === id)
        if (found) Object.assign(found, { open: false, endsAt: now })
        return { status: 200, body: {} }
      }
      case 'break-glass/review': {
        const found = this.glass.find((one) => one.id === id)
        const text = String(read(read(ask.body, 'statement'), 'text'))
        const expected = found && reviewOf(found, ask.operator, text)
        if (signing.signer(read(ask.body, 'response'), expected) !== ask.operator) return refused
        if (found) found.review = { by: ask.operator, at: now, text }
        return { status: 200, body: {} }
      }
      default: {
        const found = this.glass.find((one) => kind === 'break-glass' && one.id === id)
        if (!found) return undefined
        return { status: 200, body: { ...found, acts: actsOf(found) } }
      }
    }
  }

  break(operator: string, reason: string): void {
    const now = Date.now()
    this.glass.push({
      ...{ id: `brk_${this.glass.length + 1}`, operator, roles: ['responder'], reason },
      ...{
        incidentId: 'inc_1',
        openedAt: now,
        endsAt: now + 1_800_000,
        open: true,
        overdue: false,
      },
    })
    const text = `\`${operator}\` broke the glass (responder): ${reason}`
    this.alarms.unshift({ id: `alm_${now}`, at: now, kind: 'break-glass', operator, text })
  }
}

function read(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? Reflect.get(body, name) : undefined
}

/** One act under each. */
const actsOf = ({ openedAt: at }: BreakGlass): NonNullable<BreakGlass['acts']> => [
  { at, method: 'POST', path: '/api/quarantine' },
]

const reviewOf = (glass: BreakGlass, reviewer: string, text: string): ReviewStatement => {
  const { id, operator, openedAt, endsAt: endedAt } = glass
  const acts = actsOf(glass).map(({ at, method, path }) => [at, method, path])
  return {
    ...{ kind: 'break-glass-review', id, operator, reviewer, text, openedAt, endedAt },
    acts: createHash('sha256').update(canonicalJson(acts)).digest('hex'),
  }
}
