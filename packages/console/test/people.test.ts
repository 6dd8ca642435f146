import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Browser } from 'playwright-core'
import { launch, virtualPasskey, visit } from './support/browser.ts'
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

describe('sessions', () => {
  it('are listed, and ended by keyboard; a viewer ends only their own', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/sessions')
      await page.getByRole('rowheader', { name: /viktor/ }).waitFor()
      await page.getByText('Firefox 152').first().waitFor()
      const end = page.getByRole('button', { name: /End the session of viktor/ })
      await end.focus()
      await page.keyboard.press('Enter')
      await end.waitFor({ state: 'detached' })
      assert.deepEqual(
        fixture.world.people.sessions.map(({ operator }) => operator),
        ['olivia'],
      )
      assert.deepEqual(complaints, [])
      await context.close()

      const viewer = await visit(browser, fixture, { operator: 'viktor' })
      await viewer.page.goto('/sessions')
      const foreign = viewer.page.getByRole('button', { name: /End the session of olivia/ })
      fixture.world.people.sessions = fixture.world.people.sessions.map((one) => {
        return { ...one, current: false }
      })
      await viewer.page.reload()
      await foreign.waitFor()
      assert.ok(await foreign.isDisabled())
      await viewer.context.close()
    }))

  it('open at an identity provider, in the window that asked, and in no other', () =>
    withFixture(built, async (fixture) => {
      fixture.providers = ['corp']
      fixture.links.clear()
      const { page, context, complaints } = await visit(browser, fixture)
      await page.goto('/')
      await page.getByRole('button', { name: 'Sign in at corp' }).click()
      await page.getByRole('button', { name: /Viktor Lund/ }).waitFor()
      assert.equal(new URL(page.url()).search, '', 'the code stays in no address')
      await page.goto('/approvals/apr_1')
      await page.getByText(/You signed in at an identity provider|needs the role/).waitFor()
      assert.deepEqual(complaints, [])
      await context.close()

      const other = await visit(browser, fixture)
      await other.page.goto('/signed-in?code=c&state=s')
      await other.page.getByText('not begun in this browser window').waitFor()
      await other.context.close()
    }))

  it('are recovered on a second operator’s word, given with a passkey', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page } = seen
      await virtualPasskey(seen)
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: 'Sessions' }).click()
      await page.getByLabel('Operator name').fill('olivia')
      await page.getByText('Nobody confirms their own recovery.').waitFor()
      await page.getByLabel('Operator name').fill('viktor')
      await page.keyboard.press('Enter')
      await page.getByText(/olivia has confirmed viktor/).waitFor()
      await seen.context.close()
    }))
})

describe('break-glass', () => {
  it('is seen on every screen, lists its acts, and is reviewed by somebody else with a passkey', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page } = seen
      await virtualPasskey(seen)
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: 'Sessions' }).waitFor()
      assert.equal(await page.locator('.glass-banner').count(), 0)
      fixture.world.people.break('viktor', 'payments stand still')
      fixture.publish('alarm', {})
      await page.locator('.glass-banner').getByText('payments stand still').waitFor()
      await page.getByRole('link', { name: 'Agents', exact: true }).click()
      await page.locator('.glass-banner').getByRole('link', { name: 'Look at it' }).click()
      await page.getByText('1 act under it').click()
      await page.getByText('POST /api/quarantine').waitFor()
      await page.getByRole('button', { name: 'End it now' }).click()
      await page.getByLabel('What you found').fill('it was needed')
      await page.keyboard.press('Enter')
      await page.getByText(/Reviewed by olivia/).waitFor()
      assert.equal(await page.locator('.glass-banner').count(), 0)
      assert.deepEqual(seen.complaints, [])
      await seen.context.close()
    }))

  it('is not reviewed by whoever broke it', () =>
    withFixture(built, async (fixture) => {
      fixture.world.people.break('viktor', 'payments stand still')
      for (const one of fixture.world.people.glass) one.open = false
      const { page, context } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/sessions')
      await page.getByText('It waits for a review by somebody else.').waitFor()
      assert.equal(await page.getByLabel('What you found').count(), 0)
      await page.getByLabel('Why you need to be responder now').waitFor()
      await context.close()
    }))
})

describe('an incident', () => {
  it('is closed as a false alarm with a reason, and not by a viewer, nor after a one-time code', () =>
    withFixture(built, async (fixture) => {
      const close = 'Close as a false alarm…'
      for (const [who, why] of [
        [{ operator: 'viktor' }, 'Closing needs the role responder, approver or admin.'],
        [{ operator: 'olivia', method: 'totp' }, 'Closing needs your passkey'],
      ] as const) {
        const { page, context } = await visit(browser, fixture, who)
        await page.goto('/incidents/inc_1')
        await page.getByText(why).waitFor()
        assert.ok(await page.getByRole('button', { name: close }).isDisabled())
        await context.close()
      }
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/incidents/inc_1')
      await page.getByRole('button', { name: close }).focus()
      await page.keyboard.press('Enter')
      await page.getByLabel(/^Why it was none/).fill('a release that was announced')
      await page.keyboard.press('Enter')
      await page
        .getByText(/Closed as a false alarm by olivia: a release/)
        .first()
        .waitFor()
      assert.equal(fixture.world.incidents[0]?.status, 'closed')
      assert.equal(await page.getByRole('button', { name: close }).count(), 0)
      assert.deepEqual(complaints, [])
      await context.close()
    }))
})
