import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createDetector } from '../src/index.ts'
import type { Detector, Observation, Signal } from '../src/index.ts'
import { network } from './network.ts'

const START = 1_700_000_000_000
const ANALYST = 'spiffe://bank.example/agent/analyst/1'

function setup(maxInstances?: number): {
  detector: Detector
  time: { now: number }
  see: (part?: Partial<Observation>) => readonly Signal[]
} {
  const time = { now: START }
  const clock = { now: () => time.now, monotonic: () => time.now }
  const detector = createDetector({
    network,
    clock,
    ...(maxInstances === undefined ? {} : { maxInstances }),
  })
  const see = (part: Partial<Observation> = {}): readonly Signal[] =>
    detector.observe({
      at: time.now,
      instance: ANALYST,
      agent: 'analyst',
      system: 'core',
      operation: 'list',
      decision: 'allow',
      code: 'SP_ALLOWED',
      records: 100,
      bytes: 20_000,
      maxWholeClass: 'internal',
      newLabels: [],
      ...part,
    })
  return { detector, time, see }
}

/** Deterministic noise in [0, 1). */
function noise(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** Hours of an agent that polls, catches up in bursts, pauses, and is now and then denied. */
function normalDay(
  seed: number,
  hours: number,
): { signals: Signal[]; detector: Detector; end: number } {
  const { detector, time, see } = setup()
  const random = noise(seed)
  const signals: Signal[] = []
  see({ operation: 'account' })
  while (time.now < START + hours * 3_600_000) {
    const burst = random() < 0.05 ? 80 : 1 + Math.floor(random() * 8)
    for (let i = 0; i < burst; i++) {
      time.now += 20 + Math.floor(random() * 60)
      const denied = random() < 0.002
      signals.push(
        ...see({
          operation: random() < 0.1 ? 'account' : 'list',
          decision: denied ? 'deny' : 'allow',
          code: denied ? 'SP_DENIED_FORBIDDEN' : 'SP_ALLOWED',
          records: denied ? 0 : Math.floor(random() * 100),
        }),
      )
    }
    time.now += Math.floor(random() * 4000) + (random() < 0.01 ? 600_000 : 0)
  }
  return { signals, detector, end: time.now }
}

test('a normal day raises no signal, over simulated hours and several seeds', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const { signals, detector, end } = normalDay(seed, 8)
    assert.deepEqual(signals, [])
    assert.equal(detector.risk(ANALYST, end).score, 0)
  }
})

test('a young baseline does not alarm below the floor, whatever the jump', () => {
  const { see, time } = setup()
  for (let i = 0; i < 390; i++) {
    time.now += 25
    assert.deepEqual(see(), [])
  }
})

test('a flood of reads is flagged within its first second, and the risk rises with it', () => {
  const { see, time, detector } = setup()
  for (let i = 0; i < 300; i++) {
    time.now += 500
    assert.deepEqual(see(), [])
  }
  const began = time.now
  let flagged: number | undefined
  let early = 0
  for (let i = 0; i < 3000; i++) {
    time.now += 2
    if (see().some((signal) => signal.signal === 'volume')) {
      flagged ??= time.now
      early ||= detector.risk(ANALYST, time.now).score
    }
  }
  assert.ok(flagged !== undefined && flagged - began <= 1000, `flagged after ${flagged}`)
  const risk = detector.risk(ANALYST, time.now)
  assert.ok(risk.score > early)
  assert.match(risk.reasons[0]?.text ?? '', /calls in 10 s, above 400/)
})

test('a flood does not become normal: a second one is flagged too', () => {
  const { see, time } = setup()
  const flood = (): number => {
    let count = 0
    for (let i = 0; i < 5000; i++) {
      time.now += 4
      count += see().filter((signal) => signal.signal === 'volume').length
    }
    return count
  }
  for (let i = 0; i < 300; i++) {
    time.now += 500
    see()
  }
  assert.ok(flood() > 0)
  time.now += 60_000
  for (let i = 0; i < 60; i++) {
    time.now += 500
    see()
  }
  assert.ok(flood() > 0)
})

test('a steady high rate is learned as normal for that agent', () => {
  const { see, time } = setup()
  // 60 calls a second from the first call on: above the floor, flagged while unknown, silent once known.
  let late = 0
  for (let i = 0; i < 60 * 600; i++) {
    time.now += 1000 / 60
    const signals = see({ records: 1 }).length
    if (i > 60 * 300) late += signals
  }
  assert.equal(late, 0)
})

test('a call outside the declared flows is flagged at once; a declared one is not', () => {
  const { see } = setup()
  assert.deepEqual(see(), [])
  const [signal] = see({
    system: 'messages',
    operation: 'send',
    decision: 'deny',
    code: 'SP_NO_FLOW',
  })
  assert.equal(signal?.signal, 'outside-flow')
})

test('a first call of a declared operation is novel after warm-up only', () => {
  const young = setup()
  young.see()
  assert.deepEqual(young.see({ operation: 'account' }), [])
  const old = setup()
  for (let i = 0; i < 300; i++) {
    old.time.now += 3000
    old.see()
  }
  assert.deepEqual(
    old.see({ operation: 'account' }).map((signal) => signal.signal),
    ['novelty'],
  )
  assert.deepEqual(old.see({ operation: 'account' }), [])
})

test('a run of denials is flagged by its ratio; the same count among many calls is not', () => {
  const few = setup()
  const deny = { decision: 'deny', code: 'SP_DENIED_FORBIDDEN' } as const
  const seen: string[] = []
  for (let i = 0; i < 8; i++) {
    few.time.now += 100
    seen.push(...few.see(deny).map((signal) => signal.signal))
  }
  assert.ok(seen.includes('denials'))
  const many = setup()
  const other: string[] = []
  for (let i = 0; i < 1500; i++) {
    many.time.now += 39
    other.push(...many.see(i % 187 === 0 ? deny : {}).map((signal) => signal.signal))
  }
  assert.ok(!other.includes('denials'))
})

test('forbidden attempts at personal data and holds are hard signals; one stray attempt is not', () => {
  const { see, time, detector } = setup()
  const deny = { decision: 'deny', code: 'SP_NO_FLOW' } as const
  assert.ok(!see({ system: 'vault', operation: 'customer', ...deny }).some((s) => s.hard))
  time.now += 50
  const second = see({ operation: 'hold', ...deny })
  assert.ok(second.some((signal) => signal.hard && signal.signal === 'forbidden-burst'))
  assert.ok(detector.risk(ANALYST, time.now).score >= 95)
})

test('the same attempt outside every flow is hard the second time, refused by policy the third', () => {
  for (const [code, hardAt] of [
    ['SP_NO_FLOW', 2],
    ['SP_DENIED_FORBIDDEN', 3],
  ] as const) {
    const { see, time } = setup()
    for (let attempt = 1; attempt <= 3; attempt++) {
      time.now += 50
      const signals = see({ system: 'vault', operation: 'customer', decision: 'deny', code })
      assert.equal(
        signals.some(({ hard }) => hard),
        attempt >= hardAt,
        `${code}, attempt ${attempt}`,
      )
    }
  }
})

const FLAGGER = 'spiffe://bank.example/agent/flagger/1'
/** A write to a critical system that policy allows the flagger, refused by something else. */
const hold = (code: string): Partial<Observation> => ({
  instance: FLAGGER,
  agent: 'flagger',
  operation: 'hold',
  decision: 'deny',
  code,
  records: 0,
})

test('an agent that waits out its limits is not taken for an attacker, however long it is held back', () => {
  for (const code of ['SP_LIMIT_REACHED', 'SP_APPROVAL_FLOOD']) {
    const { detector, see, time } = setup()
    const seen: Signal[] = []
    for (let i = 0; i < 600; i++) {
      time.now += 1000
      seen.push(...see(hold(code)))
    }
    assert.deepEqual(new Set(seen.map(({ signal }) => signal)), new Set(['over-limit']))
    assert.ok(!seen.some(({ hard }) => hard))
    const { score, reasons } = detector.risk(FLAGGER, time.now)
    assert.ok(score > 0 && score <= 10, `risk ${score}`)
    assert.match(reasons[0]?.text ?? '', /a limit holds `core.hold` back/)
  }
})

test('calls that were under way when a limit was reached are no flood', () => {
  const { detector, see, time } = setup()
  for (let i = 0; i < 60; i++) see(hold('SP_LIMIT_REACHED'))
  // Each is made once more after its wait, side by side.
  for (let second = 1; second <= 30; second++) {
    time.now += 1000
    for (let i = 0; i < 16; i++) see(hold('SP_LIMIT_REACHED'))
  }
  assert.ok(detector.risk(FLAGGER, time.now).score <= 10)
})

test('a flood that runs into its limits is contained within seconds, by what it does and not by a single signal', () => {
  const { detector, see, time } = setup()
  const began = time.now
  let flagged: number | undefined
  let contained: number | undefined
  for (let i = 0; time.now < began + 10_000; i++) {
    time.now += 4
    // 90 calls in two seconds are granted, as in Meridian; what comes beyond is refused.
    const granted = i % 500 < 90
    const refused = { decision: 'deny', code: 'SP_LIMIT_REACHED', records: 0 } as const
    const signals = see(granted ? {} : refused)
    assert.ok(!signals.some(({ hard }) => hard))
    if (signals.length > 0) flagged ??= time.now
    if (detector.risk(ANALYST, time.now).score >= 80) contained ??= time.now
  }
  assert.ok(flagged !== undefined && flagged - began <= 500, `flagged after ${flagged}`)
  assert.ok(contained !== undefined && contained - began <= 2500, `contained after ${contained}`)
})

test('what the network itself fails at says nothing of the caller, except where no flow leads', () => {
  const codes = [
    'SP_STALE',
    'SP_LIMIT_UNAVAILABLE',
    'SP_APPROVAL_UNAVAILABLE',
    'SP_AUDIT_UNAVAILABLE',
    'SP_DECLARATION_CHANGED',
    'SP_GATEWAY_NOT_READY',
  ]
  for (const code of codes) {
    const { detector, see, time } = setup()
    for (let i = 0; i < 50; i++) {
      time.now += 1000
      assert.deepEqual(see(hold(code)), [])
    }
    assert.equal(detector.risk(FLAGGER, time.now).score, 0)
    const other = setup()
    const attempt = { operation: 'hold', decision: 'deny', code } as const
    for (let i = 0; i < 2; i++) other.see(attempt)
    assert.ok(other.see(attempt).some(({ hard }) => hard))
  }
})

test('a code that is not known counts against the caller', () => {
  const { see } = setup()
  for (let i = 0; i < 2; i++) see(hold('SP_NEW_CODE'))
  assert.ok(see(hold('SP_NEW_CODE')).some(({ hard }) => hard))
})

test('refusals by a limit neither hide nor thin out denials by policy', () => {
  const { see, time } = setup()
  const seen: Signal[] = []
  for (let i = 0; i < 400; i++) {
    time.now += 25
    const denied = i % 50 === 0
    seen.push(...see(hold(denied ? 'SP_DENIED_FORBIDDEN' : 'SP_LIMIT_REACHED')))
  }
  assert.ok(seen.some(({ signal }) => signal === 'denials'))
  assert.ok(seen.some(({ hard }) => hard))
})

test('attempts that were answered with `needs` are no denials', () => {
  const { detector, time } = setup()
  const instance = 'spiffe://bank.example/agent/flagger/1'
  for (let i = 0; i < 50; i++) {
    time.now += 200
    const signals = detector.observe({
      at: time.now,
      instance,
      agent: 'flagger',
      system: 'core',
      operation: 'hold',
      decision: 'needs',
      code: 'SP_NEEDS_APPROVAL',
      records: 0,
      bytes: 0,
      newLabels: [],
    })
    assert.deepEqual(signals, [])
  }
})

test('restricted values read whole beyond the floor are flagged; masked ones are not', () => {
  const masked = setup()
  const whole = setup()
  let hits = 0
  for (let i = 0; i < 300; i++) {
    masked.time.now += 100
    whole.time.now += 100
    assert.deepEqual(masked.see({ records: 1, maxWholeClass: 'internal' }), [])
    hits += whole.see({ records: 1, maxWholeClass: 'restricted' }).length
  }
  assert.ok(hits > 0)
})

test('the points of the reasons sum to the score', () => {
  const { see, time, detector } = setup()
  const deny = { decision: 'deny', code: 'SP_NO_FLOW' } as const
  see({ system: 'messages', operation: 'send', ...deny })
  see({ system: 'vault', operation: 'customer', ...deny })
  see({ operation: 'hold', ...deny })
  const { score, reasons } = detector.risk(ANALYST, time.now)
  const sum = reasons.reduce((total, reason) => total + reason.points, 0)
  assert.ok(Math.abs(sum - score) <= 0.1 * reasons.length)
})

const anyEvent = fc.record({
  gap: fc.integer({ min: -5000, max: 20_000 }),
  instance: fc.constantFrom(ANALYST, `${ANALYST}b`, 'x', '__proto__', ''),
  agent: fc.constantFrom('analyst', 'flagger', 'nobody', 'constructor'),
  system: fc.constantFrom('core', 'vault', 'messages', 'toString'),
  operation: fc.constantFrom('list', 'hold', 'customer', 'send', '__proto__'),
  decision: fc.constantFrom('allow' as const, 'deny' as const, 'needs' as const),
  records: fc.oneof(fc.integer({ min: 0, max: 1_000_000 }), fc.constantFrom(NaN, Infinity, -1)),
})

test('property: risk stays within 0–100, never falls on new evidence, and decays', () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
      const { detector, time, see } = setup()
      for (const { gap, ...event } of events) {
        time.now += Math.max(0, gap)
        const before = detector.risk(event.instance, time.now).score
        see({ ...event, at: time.now + Math.min(0, gap), code: 'x' })
        const after = detector.risk(event.instance, time.now).score
        assert.ok(after >= 0 && after <= 100 && Number.isInteger(after))
        assert.ok(after >= before, `${after} < ${before}`)
        let last = after
        for (const later of [1e3, 6e4, 6e5, 6e6]) {
          const score = detector.risk(event.instance, time.now + later).score
          assert.ok(score <= last)
          last = score
        }
        assert.equal(detector.risk(event.instance, time.now + 1e9).score, 0)
      }
    }),
    { numRuns: 150 },
  )
})

test('property: the same observations give the same signals, also across snapshot and restore', () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 40 }), (events) => {
      const one = setup()
      const two = setup()
      for (const { gap, ...event } of events) {
        one.time.now = two.time.now += Math.max(0, gap)
        const at = one.time.now
        const expected = one.see({ ...event, at, code: 'x' })
        assert.deepEqual(two.see({ ...event, at, code: 'x' }), expected)
        two.detector.restore(JSON.parse(JSON.stringify(two.detector.snapshot())))
        assert.deepEqual(
          two.detector.risk(event.instance, at),
          one.detector.risk(event.instance, at),
        )
      }
    }),
    { numRuns: 100 },
  )
})

test('a damaged snapshot is refused and leaves the detector as it was', () => {
  const { detector, see, time } = setup()
  see({ system: 'messages', operation: 'send', decision: 'deny' })
  const before = detector.risk(ANALYST, time.now)
  const good = detector.snapshot()
  const bad: unknown[] = [
    null,
    {},
    { ...good, format: 'x' },
    { ...good, instances: [['a', { evidence: {} }]] },
    JSON.parse(JSON.stringify(good).replace('"points":30', '"points":"NaN"')),
    JSON.parse(JSON.stringify(good).replace('"impatient":0', '"impatient":"0"')),
    JSON.parse(JSON.stringify(good).replace('"outside-flow","points"', '"toString","points"')),
  ]
  for (const snapshot of bad) {
    assert.throws(() => detector.restore(snapshot), { code: 'SP_DETECT_SNAPSHOT' })
  }
  assert.deepEqual(detector.risk(ANALYST, time.now), before)
  detector.restore(good)
})

test('a snapshot of the version before, which knew nothing of limits, is taken', () => {
  const { detector, see, time } = setup()
  see({ system: 'messages', operation: 'send', decision: 'deny', code: 'SP_NO_FLOW' })
  const before = detector.risk(ANALYST, time.now)
  const kept = JSON.parse(JSON.stringify(detector.snapshot()), (key, value: unknown) =>
    key === 'limited' ? undefined : value,
  )
  const next = setup()
  next.detector.restore(kept)
  assert.deepEqual(next.detector.risk(ANALYST, time.now), before)
  assert.equal(next.see(hold('SP_LIMIT_REACHED'))[0]?.signal, 'over-limit')
})

test('hostile ids cost bounded memory and cannot wash out the evidence on another instance', () => {
  const { detector, see, time } = setup(100)
  see({ operation: 'hold', decision: 'deny', code: 'SP_NO_FLOW' })
  see({ system: 'vault', operation: 'customer', decision: 'deny', code: 'SP_NO_FLOW' })
  for (let i = 0; i < 2000; i++) {
    time.now += 1
    see({ instance: `spiffe://x/${i}/${'y'.repeat(2000)}`, agent: `agent${i}`, operation: `o${i}` })
  }
  const { agents, instances } = detector.snapshot()
  assert.ok(instances.length <= 100)
  assert.ok(agents.length <= 2)
  assert.ok(detector.risk(ANALYST, time.now).score > 90)
})
