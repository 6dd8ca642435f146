import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { focused, launch, virtualPasskey, visit } from './support/browser.ts'
import { builtConsole, withFixture } from './support/built.ts'
import type { Built } from './support/built.ts'
import { largeNetwork } from './support/declaration.ts'
import { record } from './support/records.ts'

let built: Built
let browser: Browser

before(async () => {
  built = await builtConsole()
  browser = await launch()
})
after(async () => {
  await browser.close()
  await built.remove()
})

describe('first load', () => {
  it('is within its budget', () => {
    const script = join(import.meta.dirname, '../scripts/size.ts')
    const { status, stdout } = spawnSync(process.execPath, [script, built.root], {
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout)
    assert.match(stdout, /first load, of 190 KB/)
  })
})

describe('passkeys', () => {
  it('enrol through a one-time link, sign a request over its exact arguments, and sign in again', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page } = seen
      await virtualPasskey(seen)
      await page.goto('/')
      await page.getByText('No operator is enrolled yet.').waitFor()
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: /Approvals/ }).click()
      assert.equal(new URL(page.url()).hash, '', 'the used link stays in no address')
      await page.getByRole('link', { name: /ACC-2207-118/ }).click()
      await page.getByRole('cell', { name: '1500000 (1,500,000)' }).waitFor()
      await page.getByRole('button', { name: 'Approve with passkey' }).click()
      await page.getByText('It is approved already.').waitFor()
      const [signed] = fixture.world.approvals[0]?.statements ?? []
      assert.equal(signed?.statement.decision, 'approve')
      assert.deepEqual(signed?.statement.input, fixture.world.approvals[0]?.input)

      await page.getByRole('button', { name: /Olivia Reyes/ }).click()
      await page.getByRole('menuitem', { name: 'Sign out' }).click()
      await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
      await page.getByRole('heading', { name: /core-banking.placeHold/ }).waitFor()
      assert.deepEqual(seen.complaints, [])
      await seen.context.close()
    }))

  it('say so when the link is used up', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture)
      await page.goto('/enrol#used-before')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('alert').getByText('SP_LINK_INVALID').waitFor()
      await context.close()
    }))

  it('sign nothing that differs from what the page shows', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page } = seen
      await virtualPasskey(seen)
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: /Approvals/ }).click()
      await page.getByRole('link', { name: /ACC-2207-118/ }).click()
      fixture.world.tamper = { input: { accountId: 'ACC-6666-666', amount: 1 } }
      await page.getByRole('button', { name: 'Approve with passkey' }).click()
      await page.getByRole('alert').getByText('nothing was signed').waitFor()
      assert.equal(fixture.world.approvals[0]?.status, 'pending')
      await seen.context.close()
    }))
})

describe('what an operator may do', () => {
  it('is not offered to a viewer, and says why', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/approvals/apr_1')
      await page.getByText('Deciding needs the role approver or admin.').waitFor()
      assert.ok(await page.getByRole('button', { name: 'Approve with passkey' }).isDisabled())
      await page.goto('/agents/pattern-analyst')
      await page.getByText('Quarantine needs the role').waitFor()
      assert.ok(await page.getByRole('button', { name: 'Quarantine', exact: true }).isDisabled())
      await context.close()
    }))

  it('narrows only after a one-time code', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, {
        operator: 'olivia',
        method: 'totp',
      })
      await page.goto('/approvals/apr_1')
      await page.getByText('Approving needs your passkey').waitFor()
      await page.goto('/agents/pattern-analyst')
      // It can be pressed once the agent has been read; a trial waits for that.
      await page.getByRole('button', { name: 'Quarantine', exact: true }).click({ trial: true })
      await context.close()
    }))

  it('cuts one instance off with one reason, releases it and signs a change with a passkey', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page } = seen
      await virtualPasskey(seen)
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: 'Agents', exact: true }).click()
      await page.getByRole('link', { name: 'pattern-analyst' }).click()
      await page.getByRole('button', { name: 'Quarantine pat-1' }).click()
      await page.getByLabel(/Reason/).fill('reads people it never read before')
      await page.keyboard.press('Enter')
      await page.getByText('within 32 ms').waitFor()
      const [quarantine] = fixture.world.quarantines
      assert.equal(quarantine?.subject, 'spiffe://meridian.example/agent/pattern-analyst/pat-1')
      await focused(page, page.getByRole('button', { name: 'Close' }))
      await page.keyboard.press('Enter')
      await page.getByRole('dialog').waitFor({ state: 'detached' })
      await page.getByRole('button', { name: 'Release…' }).click()
      await page.getByLabel('Why it is safe again').fill('memo filter mended')
      await page.getByRole('button', { name: 'Release with passkey' }).click()
      await page.getByText('1 of 2 quarantined').waitFor({ state: 'detached' })
      assert.deepEqual(fixture.world.quarantines, [])

      await page.getByRole('link', { name: 'Network', exact: true }).click()
      await page.getByRole('link', { name: 'Changes and operators' }).click()
      await page.getByText('sendBulk').waitFor()
      await page.getByRole('button', { name: 'Start shadow' }).click()
      await page.getByRole('button', { name: 'Stop shadow' }).waitFor()
      assert.equal(fixture.world.proposals[0]?.shadow.stage, 'shadow')
      await page.getByText('Newly allowed').waitFor()
      await page.getByText('field customers.iban: mask to whole').first().waitFor()
      await page.getByRole('button', { name: 'Sign with passkey' }).click()
      await page.getByText('Nothing waits').waitFor()
      assert.deepEqual(fixture.world.proposals, [])
      assert.deepEqual(seen.complaints, [])
      await seen.context.close()
    }))
})

describe('a screen that fails', () => {
  it('says so in its place, and leaves every other one as it was', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      const [first] = fixture.world.records
      assert.ok(first)
      // A record that is not one: what no version of the server sends.
      fixture.world.records.push({ ...first, id: 'dec_broken', peer: undefined as never })
      await page.goto('/decisions/dec_broken')
      await page.getByRole('alert').getByText('could not draw this screen').waitFor()
      assert.match((await page.getByRole('alert').textContent()) ?? '', /serial/)
      await page.getByRole('button', { name: 'Try again' }).click()
      await page.getByRole('alert').getByText('could not draw this screen').waitFor()
      await page.getByRole('link', { name: 'Agents', exact: true }).click()
      await page.getByRole('link', { name: 'notifier' }).waitFor()
      await page.goto(`/decisions/${first.id}`)
      await page.locator('.verdict').waitFor()
      assert.ok(complaints.length > 0, 'the fault is in the browser’s log too')
      await context.close()
    }))

  it('is not one whose explanation lacks its parts', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      const limited = fixture.world.records.findLast(({ code }) => code === 'SP_LIMIT_REACHED')
      await page.goto(`/decisions/${limited?.id}`)
      await page.getByText('Limit analyst-reads.').waitFor()
      await page.getByText('Something else stopped it').waitFor()
      assert.deepEqual(complaints, [])
      await context.close()
    }))
})

describe('the risk chart', () => {
  it('has the grid of the theme, and again when it changes', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, {
        operator: 'olivia',
        theme: 'light',
      })
      await page.goto('/agents/pattern-analyst')
      await page.locator('.chart canvas').waitFor()
      await page.waitForTimeout(300)
      const light = await gridBrightness(page)
      await page.emulateMedia({ colorScheme: 'dark' })
      await page.waitForTimeout(300)
      const dark = await gridBrightness(page)
      assert.ok(light > 200, `the light grid is light: ${light}`)
      assert.ok(dark < 190, `the dark grid is no brighter than its line: ${dark}`)
      await context.close()
    }))
})

/** The brightness, 0–255, of the colour that covers most of the chart beside nothing at all: the grid's. */
function gridBrightness(page: Page): Promise<number> {
  return page.locator('.chart canvas').evaluate((element) => {
    // The locator names a canvas.
    const canvas = element as HTMLCanvasElement
    const { data } = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height) ?? {
      data: new Uint8ClampedArray(),
    }
    const seen = new Map<string, number>()
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] !== 255) continue
      const key = `${data[i]} ${data[i + 1]} ${data[i + 2]}`
      seen.set(key, (seen.get(key) ?? 0) + 1)
    }
    const [most = '0 0 0'] = [...seen].sort((a, b) => b[1] - a[1]).map(([key]) => key)
    return most.split(' ').reduce((sum, each) => sum + Number(each), 0) / 3
  })
}

describe('keyboard', () => {
  it('reaches every screen, every decision and every node', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/')
      await page.getByRole('application', { name: /^Network map/ }).waitFor()
      await page.keyboard.press('Tab')
      assert.equal(
        await page.evaluate(() => document.activeElement?.textContent),
        'Skip to the content',
      )
      await page.keyboard.press('Tab')
      await page.keyboard.press('Tab')
      await page.keyboard.press('Tab')
      await page.keyboard.press('Enter')
      await page.getByRole('row').nth(5).waitFor()
      assert.equal(new URL(page.url()).pathname, '/decisions')
      assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Decisions')

      await page.locator('[data-row="0"]').focus()
      for (let i = 0; i < 3; i++) await page.keyboard.press('PageDown')
      await page.locator('[data-row="36"]:focus').waitFor()
      await page.keyboard.press('ArrowUp')
      await page.locator('[data-row="35"]:focus').waitFor()
      await page.keyboard.press('Enter')
      await page.getByText('sallyport policy explain').waitFor()

      await page.goto('/')
      await page.getByRole('application', { name: /^Network map/ }).focus()
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('Enter')
      const detail = page.getByRole('complementary')
      await detail.getByText('in segment').waitFor()
      const name = await detail.getAttribute('aria-label')
      assert.ok(fixture.world.network.agents.some((agent) => agent.name === name))
      await page.keyboard.press('Escape')
      await page.getByRole('region', { name: 'Live decisions' }).waitFor()
      await context.close()
    }))

  it('opens the same flow from the map’s table twin', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/?view=table')
      await page.getByRole('button', { name: /account-flagger to core-banking/ }).focus()
      await page.keyboard.press('Enter')
      const detail = page.getByRole('complementary')
      await detail.getByText('account-flagger-to-core-banking').waitFor()
      await detail.getByRole('link', { name: 'flagger-may-hold' }).waitFor()
      await context.close()
    }))
})

describe('live', () => {
  it('shows a decision as it happens, says when it is cut off, and misses nothing after', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      const say = (operation: string): void => {
        const call = { agent: 'notifier', system: 'message-gateway', operation }
        fixture.decide(record(fixture.world.network, Date.now(), call))
      }
      await page.goto('/')
      const state = page.locator('[data-connection]')
      await page.locator('[data-connection="live"]').waitFor()
      say('liveCall')
      await page.getByText('liveCall').waitFor()
      fixture.cutStreams()
      await page.locator('[data-connection="reconnecting"]').waitFor()
      assert.match((await state.textContent()) ?? '', /Reconnecting/)
      say('missedCall')
      await page.locator('[data-connection="live"]').waitFor()
      await page.getByText('missedCall').waitFor()
      assert.deepEqual(fixture.resumed, [undefined, '1'], 'it resumed by Last-Event-ID')

      // A server that answers errors makes the browser give up; the page does not.
      fixture.refuseStreams = true
      fixture.cutStreams()
      await page.locator('[data-connection="reconnecting"]').waitFor()
      while (fixture.resumed.length < 4) await page.waitForTimeout(50)
      fixture.refuseStreams = false
      await page.locator('[data-connection="live"]').waitFor()
      await context.close()
    }))

  it('shows what happened between the first read and the stream, and while a first read was under way', () =>
    withFixture(built, async (fixture) => {
      const banner = (page: Page) =>
        page.locator('.glass-banner').getByText('payments stand').waitFor()
      const late = await visit(browser, fixture, { operator: 'olivia' })
      const open = fixture.hold('/events')
      const read = late.page.waitForResponse((one) => one.url().endsWith('/api/break-glass'))
      await late.page.goto('/')
      await read
      await late.page.locator('[data-connection="connecting"]').waitFor()
      fixture.world.people.break('viktor', 'payments stand still')
      fixture.publish('alarm', {})
      open.letGo()
      await banner(late.page)
      await late.context.close()

      fixture.world.people.glass.length = 0
      const slow = await visit(browser, fixture, { operator: 'olivia' })
      const answer = fixture.hold('/break-glass')
      await slow.page.goto('/')
      await slow.page.locator('[data-connection="live"]').waitFor()
      fixture.world.people.break('viktor', 'payments stand still')
      fixture.publish('alarm', {})
      const call = { agent: 'notifier', system: 'message-gateway', operation: 'afterwards' }
      fixture.decide(record(fixture.world.network, Date.now(), call))
      await slow.page.getByText('afterwards').waitFor()
      answer.letGo()
      await banner(slow.page)
      await slow.context.close()
    }))

  it('goes back to the door when the session ends', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/agents')
      await page.getByRole('link', { name: 'notifier' }).waitFor()
      await context.clearCookies()
      fixture.cutStreams()
      await page.getByRole('button', { name: 'Sign in with a passkey' }).waitFor()
      await context.close()
    }))
})

describe('whoever signs in next', () => {
  it('sees nothing that was read before, however the session ended', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page, context } = seen
      await virtualPasskey(seen)
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: 'Agents', exact: true }).click()
      const agent = page.getByRole('main').getByRole('link', { name: 'notifier' })
      await agent.waitFor()
      const signIn = page.getByRole('button', { name: 'Sign in with a passkey' })
      const ways = [
        async () => {
          await page.getByRole('button', { name: /Olivia Reyes/ }).click()
          await page.getByRole('menuitem', { name: 'Sign out' }).click()
        },
        async () => {
          await context.clearCookies()
          fixture.cutStreams()
        },
      ]
      for (const end of ways) {
        await end()
        await signIn.waitFor()
        const answer = fixture.hold('/agents')
        await signIn.click()
        await page.getByRole('heading', { name: 'Agents' }).waitFor()
        assert.equal(await agent.count(), 0)
        answer.letGo()
        await agent.waitFor()
      }

      // Nor what was asked for before, and comes only now. Whoever is there now does not wait for it.
      fixture.world.people.break('viktor', 'payments stand still')
      const late = fixture.hold('/break-glass')
      fixture.publish('alarm', {})
      await late.asked
      await context.clearCookies()
      fixture.cutStreams()
      await signIn.waitFor()
      const answer = fixture.hold('/break-glass')
      await signIn.click()
      await page.getByRole('heading', { name: 'Agents' }).waitFor()
      await answer.asked
      const came = page.waitForResponse((one) => one.url().endsWith('/api/break-glass'))
      late.letGo()
      await (await came).finished()
      await page.waitForTimeout(200)
      assert.equal(await page.locator('.glass-banner').count(), 0)
      answer.letGo()
      await page.locator('.glass-banner').waitFor()
      await context.close()
    }))
})

describe('a map of 150 nodes', () => {
  it('answers at once and moves nothing when it is opened again', () =>
    withFixture(
      built,
      async (fixture) => {
        const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
        const opened = performance.now()
        await page.goto('/')
        await page.locator('.react-flow__node-entity').first().waitFor()
        const shown = performance.now() - opened
        assert.ok(shown < 20_000, `the map was there after ${Math.round(shown)} ms`)
        const places = (): Promise<string | null> =>
          page.evaluate(() => localStorage.getItem('sallyport:map:A large network'))
        const first = await places()
        assert.equal(Object.keys(JSON.parse(first ?? '{}') as object).length, 152)

        // While 50 decisions a second arrive, the longest the page is ever deaf.
        const { agents, flows } = fixture.world.network
        assert.equal(agents.length, 114)
        const traffic = setInterval(() => {
          const flow = flows[Math.floor(Math.random() * flows.length)]
          if (!flow) return
          const { from: agent, to: system } = flow
          fixture.decide(
            record(fixture.world.network, Date.now(), { agent, system, operation: 'getAccount' }),
          )
        }, 20)
        const gap = await page.evaluate(async () => {
          let longest = 0
          let last = performance.now()
          const until = last + 1500
          while (last < until) {
            await new Promise((resolve) => setTimeout(resolve, 0))
            longest = Math.max(longest, performance.now() - last)
            last = performance.now()
          }
          return longest
        })
        clearInterval(traffic)
        assert.ok(gap < 3000, `the page was deaf for ${Math.round(gap)} ms`)
        await page.reload()
        await page.locator('.react-flow__node-entity').first().waitFor()
        assert.equal(await places(), first)
        assert.deepEqual(complaints, [])
        await context.close()
      },
      { network: largeNetwork(114), decisions: 1500 },
    ))
})
