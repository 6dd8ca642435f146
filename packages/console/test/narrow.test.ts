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

describe('decisions on a narrow screen', () => {
  it('say who called what, and how it ended, in rows that do not overlap', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.setViewportSize({ width: 390, height: 844 })
      await page.goto('/decisions')
      const rows = page.locator('.vbody [role=row]')
      await rows.nth(2).waitFor()
      const { records } = fixture.world
      const newest = records.toSorted((a, b) => b.at - a.at)[0] ?? assert.fail()
      for (const text of [newest.operation, newest.agent]) {
        const box = await rows.first().getByText(text).first().boundingBox()
        assert.ok(box && box.x >= 0 && box.x + box.width <= 390, text)
      }
      const tops = await rows.evaluateAll((all) => all.map((row) => row.getBoundingClientRect().y))
      const heights = await rows.evaluateAll((all) => all.map((row) => row.clientHeight))
      assert.ok(
        (tops[1] ?? 0) - (tops[0] ?? 0) >= (heights[0] ?? Infinity),
        JSON.stringify([tops, heights]),
      )
      // A window that becomes wide has one line for each again.
      await page.setViewportSize({ width: 1280, height: 844 })
      await page.waitForFunction(() => {
        const [one, two] = [...document.querySelectorAll('.vbody [role=row]')]
        return one && two && two.getBoundingClientRect().y - one.getBoundingClientRect().y === 36
      })
      assert.deepEqual(complaints, [])
      await context.close()
    }))

  it('and each by itself, with nothing cut off at the side', () =>
    withFixture(built, async (fixture) => {
      const { page, context, complaints } = await visit(browser, fixture, { operator: 'olivia' })
      await page.setViewportSize({ width: 360, height: 740 })
      for (const kind of ['needs', 'deny', 'allow']) {
        const id = fixture.world.records.find(({ decision }) => decision === kind)?.id
        await page.goto(`/decisions/${id}`)
        await page.locator('.verdict').waitFor()
        // As long as real ones are.
        await page.locator('.page-aside code').evaluate((code) => {
          code.textContent += '01m8e7gj8cchmbdetm54tzq5r0'
        })
        for (const part of ['.page-aside .copyable', '.verdict', '.verdict-code']) {
          const box = await page.locator(part).boundingBox()
          assert.ok(box && box.x >= 0 && box.x + box.width <= 360, `${kind} ${part}`)
        }
        const text = await page.locator('.verdict-line').boundingBox()
        assert.ok(text && text.width > 230, kind)
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
