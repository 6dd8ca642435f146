import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Browser, Locator, Page } from 'playwright-core'
import type { MandateView } from '../src/api/mandate-types.ts'
import type { Fixture } from './support/api.ts'
import { focused, launch, virtualPasskey, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { builtConsole, withFixture } from './support/built.ts'
import type { Built } from './support/built.ts'

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

/** Olivia, with a passkey in software. */
async function olivia(fixture: Fixture): Promise<Visit> {
  const seen = await visit(browser, fixture)
  await virtualPasskey(seen)
  await seen.page.goto('/enrol#first-link')
  await seen.page.getByRole('button', { name: 'Create a passkey' }).click()
  await seen.page.getByRole('link', { name: 'Mandates' }).click()
  await seen.page.getByRole('heading', { name: 'Mandates', exact: true }).waitFor()
  return seen
}

async function fillIn(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Give a mandate' }).click()
  await page.getByLabel('Agent', { exact: true }).selectOption('account-flagger')
  await page.getByLabel(/^Task/).fill('hold what case 4711 names')
  await page.getByRole('button', { name: 'Calls to core-banking' }).click()
  await page.getByLabel(/^placeHold/).check()
  await page.getByRole('button', { name: 'Limit an argument' }).click()
  await page.getByLabel('Value', { exact: true }).fill('ACC-2207-118')
  await page.getByRole('button', { name: 'Limit the amount' }).click()
  await page.getByLabel('At most in each call').fill('2500000')
  await page.getByLabel('At most over all calls (if any)').fill('5000000')
  await page.getByRole('button', { name: 'Limit the counterparties' }).click()
  await page.getByLabel('Named by the input').selectOption('party.iban')
  await page.getByLabel(/^Nobody but these/).fill('DE89370400440532013000\nGB29NWBK60161331926819')
  await page.getByLabel('Calls, all together').fill('3')
  await page.getByLabel('Time').fill('90')
  await page.getByLabel('Unit').selectOption('minutes')
}

/** Presses Tab until the focus is there. */
async function tabTo(page: Page, wanted: Locator): Promise<void> {
  await wanted.waitFor()
  for (let i = 0; i < 120; i++) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return
    await page.keyboard.press('Tab')
  }
  assert.fail(`the keyboard does not get to ${String(wanted)}`)
}

describe('a mandate', () => {
  it('is given by keyboard alone', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await olivia(fixture)
      const { keyboard } = page
      await tabTo(page, page.getByRole('link', { name: 'Give a mandate' }))
      await keyboard.press('Enter')
      await tabTo(page, page.getByLabel('Agent', { exact: true }))
      await keyboard.type('account-f')
      await tabTo(page, page.getByLabel(/^Task/))
      await keyboard.type('holds of today')
      await tabTo(page, page.getByRole('button', { name: 'Calls to core-banking' }))
      await keyboard.press('Enter')
      const first = page.getByRole('checkbox', { name: /^getAccount/ })
      await focused(page, first)
      await keyboard.press('Space')
      await tabTo(page, page.getByRole('button', { name: 'Read what is signed' }))
      await keyboard.press('Enter')
      await tabTo(page, page.getByRole('button', { name: 'Sign with passkey' }))
      await keyboard.press('Enter')
      await page.getByRole('heading', { name: /holds of today/ }).waitFor()
      assert.deepEqual(fixture.world.mandates.held[0]?.statement.grants, [
        { system: 'core-banking', operations: ['getAccount'] },
      ])
      await context.close()
    }))

  it('is given by a passkey over exactly what was filled in and read', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await olivia(fixture)
      await fillIn(page)
      await page.getByRole('button', { name: 'Read what is signed' }).click()
      await page
        .getByText(/olivia lets any instance of account-flagger make at most 3 calls/)
        .waitFor()
      await page
        .getByText('amount is 25,000.00 EUR (2,500,000 minor units of EUR) at most in each')
        .waitFor()
      const exact = await page.locator('.mandate-exact').textContent()
      await page.getByRole('button', { name: 'Sign with passkey' }).click()
      await page.getByRole('heading', { name: /hold what case 4711 names/ }).waitFor()
      const [given] = fixture.world.mandates.held
      const { nonce, issuedAt, notBefore, expiresAt, ...said } = given?.statement ?? assert.fail()
      assert.deepEqual(said, {
        kind: 'mandate',
        delegator: 'operator:olivia',
        delegate: 'spiffe://meridian.example/agent/account-flagger',
        task: 'hold what case 4711 names',
        uses: 3,
        grants: [
          {
            system: 'core-banking',
            operations: ['placeHold'],
            arguments: { accountId: { equals: 'ACC-2207-118' } },
            amount: {
              input: 'amount',
              currencyInput: 'currency',
              currency: 'EUR',
              perUse: 2_500_000,
              total: 5_000_000,
            },
            counterparties: {
              input: 'party.iban',
              values: ['DE89370400440532013000', 'GB29NWBK60161331926819'],
            },
          },
        ],
      })
      assert.equal(expiresAt - notBefore, 90 * 60_000)
      assert.deepEqual(JSON.parse(exact ?? ''), { ...said, nonce, issuedAt, notBefore, expiresAt })
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('is not signed where the control plane draws up anything else', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await olivia(fixture)
      await fillIn(page)
      const held = fixture.world.mandates.held.length
      const hour = Date.now() + 3_600_000
      for (const lie of [
        { uses: 4 },
        { task: 'hold what case 4711 names.' },
        { delegate: 'spiffe://meridian.example/agent/notifier' },
        { delegator: 'operator:viktor' },
        { grants: [{ system: 'core-banking', operations: ['placeHold'] }] },
        { expiresAt: hour },
        { parent: fixture.world.mandates.held.at(-1)?.id ?? '' },
      ]) {
        fixture.world.mandates.tamper = lie
        await page.getByRole('button', { name: 'Read what is signed' }).click()
        await page.getByRole('alert').getByText('nothing was signed').waitFor()
        assert.equal(await page.getByRole('button', { name: 'Sign with passkey' }).count(), 0)
        // Taken away by the next press, so that the next message is of the next lie.
        fixture.world.mandates.tamper = {}
        await page.getByRole('button', { name: 'Read what is signed' }).click()
        await page.getByRole('button', { name: 'Change it' }).click()
      }
      assert.equal(fixture.world.mandates.held.length, held)
      await context.close()
    }))

  it('says what is missing, and lists no call that no flow declares', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await olivia(fixture)
      await page.getByRole('link', { name: 'Give a mandate' }).click()
      await page.getByRole('button', { name: 'Read what is signed' }).click()
      await page.getByRole('alert').getByText('It is not complete.').waitFor()
      await page.getByLabel('Agent', { exact: true }).selectOption('account-flagger')
      assert.deepEqual(await page.getByRole('button', { name: /^Calls to/ }).allTextContents(), [
        'Calls to core-banking',
        'Calls to case-store',
      ])
      await page.getByRole('button', { name: 'Calls to core-banking' }).click()
      await page.getByRole('listitem').getByText('core-banking: choose an operation.').waitFor()
      assert.equal(await page.getByLabel(/^listTransactions/).count(), 0)
      await page.getByLabel(/^placeHold/).check()
      await page.getByRole('button', { name: 'Limit the amount' }).click()
      // Of two operations only what both take can be limited.
      await page.getByLabel(/^getAccount/).check()
      await page
        .getByRole('listitem')
        .getByText('core-banking: not every operation has an input amount.')
        .waitFor()
      await context.close()
    }))

  it('is not offered to whoever may not give or end one, and says why', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/mandates/give')
      await page.getByText('Giving a mandate needs the role approver or admin.').waitFor()
      await page.goto(`/mandates/${fixture.world.mandates.held.at(-1)?.id}`)
      await page.getByText('Ending a mandate needs the role').waitFor()
      assert.ok(await page.getByRole('button', { name: 'End it…' }).isDisabled())
      await context.close()
      const coded = await visit(browser, fixture, { operator: 'olivia', method: 'totp' })
      await coded.page.goto('/mandates/give')
      await coded.page.getByText('Giving a mandate needs your passkey').waitFor()
      await coded.page.goto(`/mandates/${fixture.world.mandates.held.at(-1)?.id}`)
      await coded.page.getByRole('button', { name: 'End it…', disabled: false }).waitFor()
      await coded.context.close()
    }))
})

describe('mandates', () => {
  it('stand as a tree, and end in cascade once one has seen what falls, by keyboard alone', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/mandates')
      const tasks = page.getByRole('rowheader')
      await tasks.first().waitFor()
      assert.deepEqual(await tasks.allTextContents(), [
        'hold what case 4711 names, 25,000 EUR at most',
        'read case 4711, passed on, one step below',
        'read case 4711 for the report, passed on, 2 steps below',
      ])
      const root = page.getByRole('link', { name: /^hold what case 4711/ })
      await root.focus()
      await page.keyboard.press('Enter')
      const end = page.getByRole('button', { name: 'End it…', disabled: false })
      await end.waitFor()
      await end.focus()
      await focused(page, end)
      await page.keyboard.press('Enter')
      await page.getByText('2 mandates below it end with it:').waitFor()
      const active = (): readonly MandateView[] =>
        fixture.world.mandates.held.filter(({ status }) => status === 'active')
      assert.equal(active().length, 3, 'nothing ends before it is confirmed')
      await page.keyboard.press('Escape')
      await page.getByRole('dialog').waitFor({ state: 'detached' })
      assert.equal(active().length, 3)
      await focused(page, end)
      await page.keyboard.press('Enter')
      await focused(page, page.getByLabel(/^Reason/))
      await page.keyboard.type('the case is closed')
      await page.keyboard.press('Enter')
      await page.getByText('within 23 ms').waitFor()
      assert.deepEqual(active(), [])
      await focused(page, page.getByRole('button', { name: 'Close' }))
      await page.keyboard.press('Enter')
      await page.getByText(/Ended by olivia/).waitFor()
      await page.getByRole('link', { name: 'read case 4711', exact: true }).click()
      await page.getByText('It fell with').waitFor()
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('show tasks of agents as text, with what reorders or hides letters spelled out', () =>
    withFixture(built, async (fixture) => {
      const task = '<img src=x onerror=alert(1)> pay \u202e000,01 RUE\u202c\u200b'
      fixture.world.mandates.hold({ task, uses: 1 })
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/mandates')
      const link = page.getByRole('link', { name: /img src=x/ })
      const shown = '<img src=x onerror=alert(1)> pay \\u{202e}000,01 RUE\\u{202c}\\u{200b}'
      assert.equal(await link.textContent(), shown)
      await link.click()
      await page.getByRole('heading', { name: shown }).waitFor()
      assert.equal(await page.locator('main img').count(), 0)
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('stay on the page when the control plane fails, and say so; nothing held is no error', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/mandates')
      await page.getByRole('rowheader').first().waitFor()
      fixture.world.mandates.failing = true
      fixture.publish('revision', { epoch: 1, n: 44 })
      await page.getByRole('alert').getByText('SP_STORE_UNAVAILABLE').waitFor()
      assert.equal(await page.getByRole('rowheader').count(), 3)
      fixture.world.mandates.failing = false
      fixture.world.mandates.held = []
      await page.getByRole('button', { name: 'Try again' }).click()
      await page.getByText('No mandate is held').waitFor()
      await context.close()
    }))

  it('are 500 at most, a hundred of them drawn at first', () =>
    withFixture(built, async (fixture) => {
      fixture.world.mandates.held = []
      for (let i = 0; i < 500; i++) fixture.world.mandates.hold({ task: `task ${i}` })
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/mandates')
      await page.getByText('These are the newest 500').waitFor()
      assert.equal(await page.getByRole('rowheader').count(), 100)
      await page.getByRole('button', { name: 'Show 100 more of 400' }).click()
      assert.equal(await page.getByRole('rowheader').count(), 200)
      await page.getByLabel('Filter by task, name or id').fill('task 499')
      await page.getByText('1 mandate shown').waitFor()
      assert.equal(await page.getByRole('rowheader').count(), 1)
      await context.close()
    }))
})
