import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import AxeBuilder from '@axe-core/playwright'
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

describe('every screen', () => {
  it('has no serious fault, in both themes, and nothing the content policy refuses', () =>
    withFixture(
      built,
      async (fixture) => {
        const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
        fixture.providers = ['corp']
        fixture.world.people.break('viktor', 'payments stand still')
        const of = (code: string): string =>
          fixture.world.records.findLast((each) => each.code === code)?.id ?? ''
        const screens: readonly (readonly [string, string])[] = [
          ['/', '.react-flow__node-entity'],
          ['/?view=table', '.map-table tbody tr'],
          ['/?sel=agent%3Apattern-analyst%E2%86%92system%3Acase-store', '.inspector-decisions li'],
          ['/decisions', '[data-row="3"]'],
          [`/decisions/${of('SP_NEEDS_APPROVAL')}`, '.verdict'],
          [`/decisions/${of('SP_DENIED_FORBIDDEN')}`, '.clause'],
          [`/decisions/${of('SP_DENIED_POLICY_ERROR')}`, '.clause-error'],
          ['/approvals', '.approval-line'],
          ['/approvals/apr_1', '.arguments'],
          ['/agents', 'tbody tr'],
          ['/agents/pattern-analyst', '.chart canvas'],
          ['/incidents', 'tbody tr'],
          ['/incidents/inc_1', '.timeline li'],
          ['/network', '.matrix'],
          ['/network?section=systems', 'tbody tr'],
          ['/network?section=data', '.class-chip'],
          ['/network?section=policies', '.cedar'],
          ['/network?section=settings', '.facts'],
          ['/network?section=changes', '.panel'],
          ['/mandates', 'tbody tr'],
          [`/mandates/${fixture.world.mandates.held.at(-1)?.id}`, '.chain li'],
          ['/mandates/give', '.fields'],
          ['/inventory', 'tbody tr'],
          ['/inventory?section=uses', 'tbody tr'],
          ['/keys', 'tbody tr'],
          ['/keys?section=authority', 'tbody tr'],
          ['/keys?section=leases', 'tbody tr'],
          ['/network?section=partners', 'tbody tr'],
          ['/sessions', 'tbody tr'],
          ['/nowhere', '.empty'],
        ]
        for (const [path, landmark] of screens) {
          await page.goto(path)
          await page.locator(landmark).first().waitFor()
          await faultless(page, path)
        }
        await page.goto('/network?section=changes')
        await page.getByRole('button', { name: 'Start shadow' }).click()
        await page.locator('.shadow-counts').waitFor()
        await faultless(page, 'a shadow report')
        await page.goto('/mandates/give')
        await page.getByLabel('Agent', { exact: true }).selectOption('account-flagger')
        await page.getByLabel(/^Task/).fill('hold')
        await page.getByRole('button', { name: 'Calls to core-banking' }).click()
        await page.getByLabel(/^placeHold/).check()
        for (const limit of ['an argument', 'the amount', 'the counterparties']) {
          await page.getByRole('button', { name: `Limit ${limit}` }).click()
        }
        await faultless(page, 'a mandate that is filled in')
        await page.getByLabel('Value', { exact: true }).fill('ACC-2207-118')
        await page.getByLabel('At most in each call').fill('2500000')
        await page.getByLabel(/^Nobody but/).fill('ACC-1')
        await page.getByRole('button', { name: 'Read what is signed' }).click()
        await page.getByRole('button', { name: 'Sign with passkey' }).waitFor()
        await faultless(page, 'a mandate to sign')
        await page.goto(`/mandates/${fixture.world.mandates.held.at(-1)?.id}`)
        await page.getByRole('button', { name: 'End it…', disabled: false }).click()
        await page.getByRole('dialog').waitFor()
        await faultless(page, 'the dialog that ends a mandate')
        await page.goto('/keys?section=authority')
        await page.getByRole('button', { name: 'Prepare a successor…' }).click()
        await page.getByRole('dialog').waitFor()
        await faultless(page, 'the dialog that prepares a signing certificate')
        await page.goto('/agents/pattern-analyst')
        await page.getByRole('button', { name: 'Quarantine', exact: true }).click()
        await page.getByRole('dialog').waitFor()
        await faultless(page, 'the quarantine dialog')
        await context.clearCookies()
        for (const path of ['/', '/enrol#first-link']) {
          await page.goto(path)
          await page.getByRole('main').waitFor()
          await faultless(page, `signed out ${path}`)
        }
        assert.deepEqual(complaints, [])
        await context.close()
      },
      // Enough of each outcome, and short lists: axe looks at every row.
      { decisions: 90 },
    ))
})

/** Every rule in the light theme; in the dark one those that look at colours. */
async function faultless(page: Page, where: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    const axe = new AxeBuilder({ page }).setLegacyMode().options({ resultTypes: ['violations'] })
    const { violations, passes } = await (
      colorScheme === 'light'
        ? axe.withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
        : axe.withRules(['color-contrast', 'link-in-text-block'])
    ).analyze()
    assert.ok(passes.length > 0, `axe looked at nothing on ${where}`)
    const serious = violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join('\n  ')}`)
    assert.deepEqual(serious, [], `${where} in ${colorScheme}`)
  }
}
