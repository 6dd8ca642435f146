import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Field, LlmSystem, Network } from '@sallyport/network'
import { createRedactor } from '@sallyport/redact'
import { ReadValues } from '../src/llm/read-values.ts'
import { Vaults } from '../src/llm/vaults.ts'

const llmOf = (mayRead: LlmSystem['mayRead']): LlmSystem => ({
  dialect: 'openai',
  vendor: {
    name: 'Acme',
    region: 'eu',
    retentionDays: 0,
    reviewer: 'olga',
    reviewed: '2020-01-01',
    reviewBy: '2999-12-31',
  },
  mayRead,
  above: 'redact',
  find: ['identifiers'],
  answerTags: [],
  models: [],
})
const network = (mayRead: LlmSystem['mayRead']): Network =>
  // Nothing else of a network is looked at.
  ({ systems: [{ llm: llmOf(mayRead) }] }) as unknown as Network

async function withValues(now: () => number, run: (values: ReadValues) => unknown): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'sallyport-read-'))
  try {
    await run(await ReadValues.open({ dataDir, now }))
  } finally {
    await rm(dataDir, { recursive: true })
  }
}

describe('what an instance read and nobody took down', () => {
  it('keeps it from the vendors that may not read that', async () => {
    await withValues(
      () => 0,
      (values) => {
        const may = (instance: string): string[] =>
          (['public', 'internal', 'confidential', 'restricted'] as const).filter(
            (mayRead) => !values.isIncomplete(instance, mayRead),
          )
        values.unseen('nothing', network('public'), 'public')
        assert.equal(may('nothing').length, 4)
        values.unseen('some', network('internal'), 'internal')
        assert.equal(may('some').length, 4)
        values.unseen('some', network('public'), 'internal')
        assert.deepEqual(may('some'), ['internal', 'confidential', 'restricted'])
        values.unseen('some', network('internal'), 'confidential')
        assert.deepEqual(may('some'), ['restricted'])
        values.unseen('some', network('public'), 'internal')
        assert.deepEqual(may('some'), ['restricted'])
      },
    )
  })
})

describe('what an instance read', () => {
  const field = { name: 'memo', class: 'confidential', tags: ['pii'] } as unknown as Field
  const finds = (values: ReadValues, instance: string, text: string): string =>
    createRedactor({
      find: { groups: [] },
      known: values.above(instance, 'internal', () => undefined),
      replace: () => '*',
    }).redact(text)
  const DAY = 86_400_000

  it('takes a share of the room, however long its texts, and leaves the rest to others', async () => {
    await withValues(
      () => 0,
      (values) => {
        const taken = (instance: string): ((value: string) => void) => {
          const note = values.noter(instance, network('internal'))
          return (value) => {
            note(value, field)
          }
        }
        const loud = taken('loud')
        for (let text = 0; text < 36; text++) {
          loud(Array.from({ length: 60_000 }, (_, i) => `${text}x${i}`.padEnd(16, 'q')).join(' '))
        }
        assert.ok(values.isIncomplete('loud', 'internal'))
        const quiet = taken('quiet')
        for (let i = 0; i < 100; i++) quiet(`another memo that is read, number ${i}`)
        quiet('a memo of its own, and long enough')
        assert.ok(!values.isIncomplete('quiet', 'internal'))
        assert.equal(finds(values, 'quiet', 'a memo of its own, and long enough!'), '*!')
      },
    )
  })

  it('is forgotten with it, and what others read too is not', async () => {
    let now = 0
    await withValues(
      () => now,
      async (values) => {
        const take = (instance: string, value: string): void => {
          values.noter(instance, network('internal'))(value, field)
        }
        take('old', 'blue boar')
        take('old', 'red lion')
        take('young', 'red lion')
        assert.equal(values.size, 2)
        now = 6 * DAY
        // Asking counts as being there.
        assert.equal(finds(values, 'young', 'red lion, blue boar'), '*, blue boar')
        await values.forget()
        assert.equal(values.size, 2)
        now = 7 * DAY
        await values.forget()
        assert.equal(values.size, 1)
        assert.equal(finds(values, 'young', 'red lion'), '*')
        assert.equal(finds(values, 'old', 'red lion'), 'red lion')
        assert.ok(values.isIncomplete('old', 'confidential'), 'and so it is denied')
        assert.ok(!values.isIncomplete('young', 'public'))
        now = 8 * DAY
        take('old', 'blue boar')
        assert.equal(finds(values, 'old', 'blue boar'), '*')
        now = 200 * DAY
        await values.forget()
        assert.equal(values.size, 0)
      },
    )
  })
})

describe('the vaults of all sessions', () => {
  it('take no more memory than they may: whoever asked longest ago goes first', () => {
    const vaults = new Vaults(new Uint8Array(32), 100_000)
    const use = (session: string, texts: number): (() => void) => {
      const { vault, close } = vaults.open(session)
      for (let i = 0; i < texts; i++) vault.token('ID', `${session} ${i} `.padEnd(500, 'x'))
      return close
    }
    const first = use('first', 50)
    use('second', 40)()
    // A call holds it, however long ago it began.
    use('third', 40)()
    assert.equal(vaults.size, 2)
    const again = vaults.open('first')
    assert.ok(again.vault.bytes > 50_000)
    again.close()
    first()
    assert.equal(vaults.size, 1, 'now it counts')
    use('fourth', 1)()
    assert.equal(vaults.size, 2)
  })

  it('are bound to their sessions', () => {
    const vaults = new Vaults(new Uint8Array(32))
    const [a, b] = [vaults.open('a').vault, vaults.open('b').vault]
    const token = a.token('ID', 'a value')
    assert.equal(b.restore(token), token)
    assert.equal(vaults.open('a').vault.restore(token), 'a value')
  })
})
