import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { launch, visit } from './support/browser.ts'
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

const names = async (page: Page): Promise<readonly string[]> =>
  page
    .locator('tbody th')
    .evaluateAll((cells) => cells.map((cell) => cell.firstChild?.textContent ?? ''))

/** Waits until that is what a person would paste. */
const copied = async (page: Page, text: string): Promise<void> => {
  const end = Date.now() + 60_000
  let pasted = ''
  while (pasted !== text && Date.now() < end) {
    pasted = await page.evaluate(() => navigator.clipboard.readText())
    if (pasted !== text) await page.waitForTimeout(50)
  }
  assert.equal(pasted, text)
}

describe('what nobody declared', () => {
  it('is listed with who asked, how often, when, and who answers for it', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/')
      await page.getByRole('link', { name: 'Inventory', exact: true }).click()
      await page.getByRole('heading', { name: 'Inventory', level: 1 }).waitFor()
      await page.getByText('6 names that nobody declared').waitFor()
      assert.deepEqual(await names(page), [
        'POST /v1/accounts/{}/close',
        'getPerson',
        'account.riskScore',
        'spiffe://meridian.example/agent/night-batch/n1',
        'api.openai.example',
        'more callers than are kept',
      ])
      const row = page.getByRole('row', { name: /accounts\/\{\}\/close/ })
      const cells = await row.getByRole('cell').allInnerTexts()
      const owner = fixture.world.network.systems.find(({ name }) => name === 'core-banking')?.owner
      assert.deepEqual(cells.slice(0, 3), ['Operation', 'account-flagger', '41'])
      assert.equal(cells[3], '2 d ago')
      assert.equal(cells[5], owner)
      await row.getByRole('link', { name: 'account-flagger' }).click()
      await page.getByRole('heading', { name: 'account-flagger', level: 1 }).waitFor()
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('comes with what would declare it, which one press copies as it is shown', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'viktor' })
      await context.grantPermissions(['clipboard-read', 'clipboard-write'], {
        origin: fixture.origin,
      })
      await page.goto('/inventory')
      const suggest = page.getByRole('button', { name: /^Suggest.*getPerson$/ })
      await suggest.focus()
      await page.keyboard.press('Enter')
      const shown = page.getByRole('group', { name: 'What would declare getPerson' })
      const text = await shown.innerText()
      const of = fixture.world.drift.find(({ name }) => name === 'getPerson')
      assert.equal(`${text}\n`, of?.suggestion)
      await page.getByRole('button', { name: 'Copy', exact: true }).click()
      await copied(page, text)
      await page.getByRole('button', { name: /^Hide.*getPerson$/ }).click()
      await shown.waitFor({ state: 'detached' })
      // Of those that have no line of their own, nothing can be declared.
      await page.getByText('no suggestion').waitFor()
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('spells out what is invisible in a name, and copies no more than it shows', () =>
    withFixture(built, async (fixture) => {
      const [first] = fixture.world.drift
      if (!first) assert.fail('there is none')
      const suggestion = 'systems:\n  "a\u202eb": TODO\n'
      fixture.world.drift = [{ ...first, name: 'tool a\u202eb', by: 'x\u200by', suggestion }]
      const { page, context } = await visit(browser, fixture, { operator: 'viktor' })
      await context.grantPermissions(['clipboard-read', 'clipboard-write'], {
        origin: fixture.origin,
      })
      await page.goto('/inventory')
      await page.getByText('tool a\\u{202e}b', { exact: true }).waitFor()
      await page.getByText('x\\u{200b}y').waitFor()
      await page.getByRole('button', { name: /^Suggest/ }).click()
      await page.getByRole('button', { name: 'Copy', exact: true }).click()
      await copied(page, 'systems:\n  "a\\u{202e}b": TODO')
      await context.close()
    }))

  it('is filtered by kind and by text, a hundred at first, and stays when the control plane fails', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/inventory')
      await page.getByLabel('Kind').selectOption('caller')
      await page.getByText('2 names shown').waitFor()
      await page.getByLabel('Filter by name').fill('night')
      await page.getByText('1 name shown').waitFor()
      await page.getByLabel('Filter by name').fill('nothing of the kind')
      await page.getByText('Nothing matches').waitFor()
      const [first] = fixture.world.drift
      if (!first) assert.fail('there is none')
      fixture.world.drift = Array.from({ length: 250 }, (_, i) => ({
        ...first,
        name: `GET /v1/${i}`,
      }))
      await page.reload()
      await page.getByRole('button', { name: 'Show 100 more of 150' }).click()
      assert.equal(await page.getByRole('rowheader').count(), 200)
      fixture.world.drift = []
      await page.reload()
      await page.getByText('Nothing that is not declared was asked for').waitFor()
      fixture.world.inventoryFails = true
      await page.reload()
      await page.getByRole('alert').getByText('SP_STORE_UNAVAILABLE').waitFor()
      fixture.world.inventoryFails = false
      await page.getByRole('button', { name: 'Try again' }).click()
      await page.getByText('Nothing that is not declared was asked for').waitFor()
      await context.close()
    }))
})

describe('what is declared', () => {
  it('is listed with its owner, what was never used first, and can be only that', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/inventory')
      await page.getByRole('link', { name: 'Declared', exact: true }).click()
      await page.getByText('2 never used').waitFor()
      assert.deepEqual((await names(page)).slice(0, 3), [
        'core-banking.getStatement',
        'notifier',
        'core-banking.placeHold',
      ])
      const [row] = await page.locator('tbody tr').all()
      const cells = await row?.getByRole('cell').allInnerTexts()
      assert.deepEqual(cells, ['Operation', 'core', '', '0', 'never'])
      await page.getByRole('button', { name: 'Never used' }).click()
      await page.getByText('2 names shown').waitFor()
      await page.getByLabel('Kind').selectOption('agent')
      await page.getByText('1 name shown').waitFor()
      assert.deepEqual(await names(page), ['notifier'])
      assert.deepEqual(complaints, [])
      await context.close()
    }))
})
