import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Browser } from 'playwright-core'
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

const SCREENS = [
  ['/mandates', 'tbody tr'],
  ['/mandates/ID', '.chain li'],
  ['/mandates/give', '.fields'],
  ['/inventory', 'tbody tr'],
  ['/keys', 'tbody tr'],
  ['/keys?section=authority', '.roots li'],
  ['/keys?section=leases', 'tbody tr'],
  ['/network?section=partners', 'tbody tr'],
  ['/incidents/inc_1', '.timeline li'],
  ['/sessions', 'tbody tr'],
] as const

describe('a narrow screen', () => {
  it('of 360 px shows each page whole: only tables and the menu scroll sideways, each by itself', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.setViewportSize({ width: 360, height: 740 })
      const id = fixture.world.mandates.held.at(-1)?.id ?? ''
      for (const [path, landmark] of SCREENS) {
        await page.goto(path.replace('ID', id))
        await page.locator(landmark).first().waitFor()
        const widths = await page.evaluate(() => [
          document.documentElement.scrollWidth,
          document.querySelector('main')?.scrollWidth,
        ])
        assert.deepEqual(widths, [360, 360], path)
        // The place in the menu where one is, is in sight.
        const here = await page.locator('.nav-item.here').boundingBox()
        assert.ok(here && here.x >= 0 && here.x + here.width <= 360, path)
      }
      assert.deepEqual(complaints, [])
      await context.close()
    }))
})

describe('a page that waits', () => {
  it('says what for, and shows it once it is there', () =>
    withFixture(built, async (fixture) => {
      const { page, context } = await visit(browser, fixture, { operator: 'olivia' })
      for (const [path, api, what] of [
        ['/mandates', 'mandates', 'Loading mandates'],
        ['/keys', 'register', 'Loading the register'],
        ['/inventory', 'inventory/drift', 'Loading what is not declared'],
        ['/keys?section=authority', 'ca', 'Loading the signing certificates'],
        ['/keys?section=leases', 'leases', 'Loading leases'],
        ['/network?section=partners', 'federation', 'Loading partners'],
      ] as const) {
        const held = Promise.withResolvers<void>()
        await page.route(`**/api/${api}`, async (route) => {
          await held.promise
          await route.continue()
        })
        await page.goto(path)
        await page.getByRole('status').getByText(what).waitFor()
        held.resolve()
        await page.getByText(what).waitFor({ state: 'detached' })
        await page.locator('main table').first().waitFor()
        await page.unroute(`**/api/${api}`)
      }
      await context.close()
    }))
})
