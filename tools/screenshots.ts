/**
 * `node tools/screenshots.ts [DIR]`: starts the demo, signs in with a virtual authenticator as a person would, and takes
 * pictures of every screen in both themes. Without DIR: those of the README, in `docs/screenshots`.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import type { Page } from 'playwright-core'

const README = [
  'overview-dark',
  'overview-light',
  'decision-dark',
  'approval-light',
  'incident-dark',
]
const dir = process.argv[2] ?? 'docs/screenshots'
const every = process.argv[2] !== undefined
mkdirSync(dir, { recursive: true })

const demo = spawn(process.execPath, ['packages/cli/bin/sallyport.ts', 'demo'], {
  stdio: ['ignore', 'ignore', 'pipe'],
})
const link = await new Promise<string>((resolve, reject) => {
  createInterface({ input: demo.stderr }).on('line', (line) => {
    const match = /sign in\s+(http\S+)/.exec(line)
    if (match?.[1]) resolve(match[1])
  })
  demo.once('exit', () => reject(new Error('the demo ended before it was ready')))
})

async function executable(): Promise<string> {
  for (const path of ['/usr/bin/chromium', '/usr/bin/google-chrome'])
    if (existsSync(path)) return path
  process.env.AWS_LAMBDA_JS_RUNTIME ??= 'nodejs24.x'
  const { default: bundled } = await import('@sparticuz/chromium')
  return bundled.executablePath()
}

const browser = await chromium.launch({
  executablePath: await executable(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'],
})
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  const page = await context.newPage()
  const cdp = await context.newCDPSession(page)
  await cdp.send('WebAuthn.enable')
  await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
  page.on('console', (message) => {
    if (message.type() === 'error') console.error(`page: ${message.text()}`)
  })
  page.on('pageerror', (error) => console.error(`page: ${error.message}`))
  await page.goto(link)
  await shoot(page, 'enrol')
  await page
    .getByRole('button', { name: /passkey/i })
    .first()
    .click()
  await page.waitForURL((url) => !url.pathname.startsWith('/enrol'), { timeout: 20_000 })
  await sleep(Number(process.env.SHOT_WAIT_MS ?? 60_000))
  const origin = new URL(link).origin
  // The demo's attack shows on most screens.
  for (let i = 0; i < 90 && !(await anyIncident(page)); i++) await sleep(1000)
  await sleep(3000)
  for (const [name, path] of [
    ['overview', '/'],
    ['decisions', '/decisions'],
    ['approvals', '/approvals'],
    ['agents', '/agents'],
    ['agent', '/agents/pattern-analyst'],
    ['incidents', '/incidents'],
    ['network', '/network'],
    ['inventory', '/inventory'],
  ] as const) {
    await page.goto(`${origin}${path}`)
    await sleep(2500)
    await shoot(page, name)
  }
  await open(page, `${origin}/approvals`, 'a[href^="/approvals/"]', 'approval')
  await open(page, `${origin}/incidents`, 'a[href^="/incidents/"]', 'incident')
  // One of each code, and for the README the one with the most to say.
  const ids = await page.evaluate(async () => {
    const found: Record<string, string> = {}
    for (const kind of ['deny', 'needs', 'allow']) {
      const answer = await fetch(`/api/decisions?decision=${kind}&limit=500`)
      const records = (await answer.json()) as { id: string; code: string }[]
      for (const { id, code } of records) found[code] ??= id
    }
    return found
  })
  const [best] = [
    'SP_DENIED_FORBIDDEN',
    'SP_DENIED_NOT_PERMITTED',
    'SP_NEEDS_APPROVAL',
    ...Object.keys(ids),
  ].filter((code) => code in ids)
  for (const [code, id] of Object.entries(ids)) {
    await page.goto(`${origin}/decisions/${id}`)
    await page.locator('.verdict').waitFor()
    await sleep(500)
    await shoot(page, `decision-${code}`)
    if (code === best) await shoot(page, 'decision')
  }
} finally {
  await browser.close()
  demo.kill('SIGINT')
}

async function anyIncident(page: Page): Promise<boolean> {
  return page.evaluate(async () => {
    const answer = await fetch('/api/incidents')
    return ((await answer.json()) as unknown[]).length > 0
  })
}

async function open(page: Page, list: string, selector: string, name: string): Promise<void> {
  await page.goto(list)
  await sleep(1500)
  const first = page.locator(selector).first()
  if ((await first.count()) === 0) {
    console.error(`nothing to open for ${name}`)
    return
  }
  await first.click()
  await sleep(1500)
  await shoot(page, name)
}

async function shoot(page: Page, name: string): Promise<void> {
  for (const scheme of ['dark', 'light'] as const) {
    if (!every && !README.includes(`${name}-${scheme}`)) continue
    await page.emulateMedia({ colorScheme: scheme })
    await sleep(250)
    await page.screenshot({ path: join(dir, `${name}-${scheme}.png`) })
  }
}
