import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { focused, launch, virtualPasskey, visit } from './support/browser.ts'
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
    .locator('.register tbody th')
    .evaluateAll((cells) => cells.map((cell) => cell.firstChild?.textContent ?? ''))

describe('the register of keys', () => {
  it('has what is overdue first, and is sorted and filtered by keyboard', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'viktor' })
      await page.goto('/keys')
      await page.getByRole('rowheader').first().waitFor()
      const agent = 'spiffe://meridian.example/agent/account-flagger/acc-1'
      assert.deepEqual(await names(page), [
        'authority of database clients',
        'banking/api-key',
        agent,
        'root of the trust domain',
        ...['bundle key', 'data key 2 of the barrier', 'passkey a1b2c3d4e5f6 of olivia'],
      ])
      await page.getByText('1 expired').waitFor()
      await page.getByText('1 due').waitFor()
      const age = page.getByRole('button', { name: 'Age' })
      await age.focus()
      await page.keyboard.press('Enter')
      await page.locator('th[aria-sort="ascending"]', { hasText: 'Age' }).waitFor()
      assert.equal((await names(page))[0], 'authority of database clients')
      await page.keyboard.press('Enter')
      await page.locator('th[aria-sort="descending"]', { hasText: 'Age' }).waitFor()
      assert.equal((await names(page))[0], 'passkey a1b2c3d4e5f6 of olivia')
      await page.getByRole('button', { name: 'Overdue' }).click()
      await page.getByText('2 entries shown').waitFor()
      await page.getByLabel('Kind').selectOption('secret')
      await page.getByText('1 entry shown').waitFor()
      assert.deepEqual(await names(page), ['banking/api-key'])
      await page.getByRole('button', { name: 'All', exact: true }).click()
      await page.getByLabel('Kind').selectOption('')
      await page.getByLabel('Whether it can be copied').selectOption('no')
      await page.getByText('1 entry shown').waitFor()
      assert.deepEqual(await names(page), ['data key 2 of the barrier'])
      await page.getByLabel('Filter by name').fill('nothing of the kind')
      await page.getByText('Nothing matches').waitFor()
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('draws a hundred of 500 at first, and stays when the control plane fails', () =>
    withFixture(built, async (fixture) => {
      const [first] = fixture.world.keys.register
      if (!first) assert.fail('the register is empty')
      fixture.world.keys.register = Array.from({ length: 500 }, (_, i) => ({
        ...first,
        name: `key ${i}`,
      }))
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/keys')
      await page.getByRole('button', { name: 'Show 100 more of 400' }).click()
      assert.equal(await page.getByRole('rowheader').count(), 200)
      fixture.world.keys.failing = true
      await page.goto('/keys?section=authority')
      await page.getByRole('alert').getByText('SP_STORE_UNAVAILABLE').waitFor()
      fixture.world.keys.failing = false
      await page.getByRole('button', { name: 'Try again' }).click()
      await page.getByText('Signs now').waitFor()
      await context.close()
    }))
})

describe('signing certificates', () => {
  it('get a successor, which is put in use, each only once it is confirmed', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/keys')
      await page.getByRole('link', { name: 'Signing certificates' }).click()
      const states = (): readonly string[] =>
        fixture.world.keys.authority.generations.map(({ state }) => state)
      const activate = page.getByRole('button', { name: 'Put it in use…' })
      await activate.waitFor()
      assert.ok(await activate.isDisabled(), 'there is nothing to put in use')
      await page.getByRole('button', { name: 'Prepare a successor…' }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
      assert.deepEqual(states(), ['retired', 'active'])
      await page.getByRole('button', { name: 'Prepare a successor…' }).click()
      await page.getByRole('button', { name: 'Prepare it now' }).click()
      await page.getByText('Signs next').waitFor()
      assert.deepEqual(states(), ['retired', 'active', 'prepared'])
      assert.ok(await page.getByRole('button', { name: 'Prepare a successor…' }).isDisabled())
      await activate.click()
      await page.getByRole('button', { name: 'Sign with it from now on' }).click()
      await page.getByText('Signs next').waitFor({ state: 'detached' })
      assert.deepEqual(states(), ['retired', 'retired', 'active'])
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('are not offered to a viewer, nor after a one-time code, and say why', () =>
    withFixture(built, async (fixture) => {
      for (const [who, why] of [
        [{ operator: 'viktor' }, 'Roots and signing certificates need the role admin.'],
        [{ operator: 'olivia', method: 'totp' }, 'Preparing a root needs your passkey'],
      ] as const) {
        const { page, context } = await visit(browser, fixture, who)
        await page.goto('/keys?section=authority')
        await page.getByText(why).first().waitFor()
        assert.ok(await page.getByRole('button', { name: 'Prepare a root…' }).isDisabled())
        // What changes nobody's rights takes the role alone.
        const certificate = page.getByRole('button', { name: 'Prepare a successor…' })
        assert.equal(await certificate.isDisabled(), who.operator === 'viktor')
        await context.close()
      }
    }))
})

describe('a root of trust', () => {
  it('is prepared, signed by a passkey over the certificate that was shown, and put in use', () =>
    withFixture(built, async (fixture) => {
      const seen = await visit(browser, fixture)
      const { page } = seen
      await virtualPasskey(seen)
      await page.goto('/enrol#first-link')
      await page.getByRole('button', { name: 'Create a passkey' }).click()
      await page.getByRole('link', { name: 'Keys', exact: true }).click()
      await page.getByRole('link', { name: 'Signing certificates' }).click()
      const retire = page.getByRole('button', { name: 'End trust in it…' })
      await page.getByText('Identities below it are still in use').waitFor()
      assert.ok(await retire.isDisabled(), 'somebody still has an identity below it')
      await page.getByRole('button', { name: 'Prepare a root…' }).click()
      await page.getByRole('button', { name: 'Prepare it now' }).click()
      const { keys } = fixture.world
      const root = () => keys.authority.roots.at(-1) ?? assert.fail('there is no root')
      for (const lie of [
        { certificate: Buffer.from('another certificate').toString('base64url') },
        { trustDomain: 'mallory.example' },
        { certificate: '' },
      ]) {
        keys.tamper = lie
        await page.getByRole('button', { name: 'Sign…' }).click()
        await page.getByRole('button', { name: 'Sign with passkey' }).click()
        await page.getByRole('alert').getByText('nothing was signed').waitFor()
        await page.keyboard.press('Escape')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
      }
      assert.equal(root().state, 'prepared')
      keys.tamper = {}
      await page.getByRole('button', { name: 'Sign…' }).click()
      await page.getByText(root().fingerprint.match(/.{4}/g)?.join(' ') ?? '').waitFor()
      await page.getByRole('button', { name: 'Sign with passkey' }).click()
      await page.getByRole('button', { name: 'Put this root in use…' }).click()
      assert.equal(root().state, 'trusted')
      await page.getByRole('button', { name: 'Sign below it from now on' }).click()
      await page.getByRole('dialog').waitFor({ state: 'detached' })
      assert.equal(root().state, 'active')
      assert.deepEqual(seen.complaints, [])
      await seen.context.close()
    }))
})

describe('what is held outside', () => {
  it('ends with a reason: a lease, once it is said what falls with it; not by a viewer', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/keys?section=leases')
      await page.getByText('the provider answered 503').waitFor()
      await page.getByRole('button', { name: 'End… case 4711 of case-manager cas-1' }).focus()
      await page.keyboard.press('Enter')
      await page.getByText('and 1 lease below it').waitFor()
      assert.equal(fixture.world.leases.length, 2)
      await focused(page, page.getByRole('dialog').getByRole('textbox'))
      await page.keyboard.type('the case is closed')
      await page.keyboard.press('Enter')
      await page.getByRole('dialog').waitFor({ state: 'detached' })
      assert.deepEqual(
        fixture.world.leases.map(({ id }) => id),
        ['lse_2'],
      )
      assert.deepEqual(complaints, [])
      await context.close()
      const viewer = await visit(browser, fixture, { operator: 'viktor' })
      await viewer.page.goto('/keys?section=leases')
      assert.ok(await viewer.page.getByRole('button', { name: /^End…/ }).isDisabled())
      await viewer.context.close()
    }))

  it('is seen to be stale: a partner, who is cut off whole with one reason', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.goto('/network?section=partners')
      await page.getByText('last attempt: SP_FEDERATION_FETCH').waitFor()
      await page.getByText('Gateways let none of its agents in').waitFor()
      await page.getByRole('rowheader', { name: /reconciler@partner.example/ }).waitFor()
      await page.getByRole('button', { name: 'Quarantine all of it…' }).first().click()
      await focused(page, page.getByRole('dialog').getByRole('textbox'))
      await page.keyboard.type('calls from a strange address')
      await page.keyboard.press('Enter')
      await page.getByRole('button', { name: 'Release…' }).waitFor()
      assert.equal(fixture.world.quarantines[0]?.subject, 'spiffe://partner.example')
      assert.deepEqual(complaints, [])
      await context.close()
    }))
})
