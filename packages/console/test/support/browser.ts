import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import type { Fixture } from './api.ts'

const INSTALLED = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/**
 * The machine's Chromium, else the one from the registry.
 *
 * @param args more of its command line
 */
export async function launch(args: readonly string[] = []): Promise<Browser> {
  let executablePath = INSTALLED.find((path) => existsSync(path))
  if (executablePath === undefined) {
    // It looks for system libraries at import time unless told where it is.
    process.env['AWS_LAMBDA_JS_RUNTIME'] ??= 'nodejs24.x'
    const { default: packed } = await import('@sparticuz/chromium')
    executablePath = await oneAtATime(() => packed.executablePath())
  }
  return chromium.launch({ executablePath, args: ['--no-sandbox', ...args] })
}

/** It is unpacked where the first who asks finds nothing; whoever asks meanwhile would find half a program. Across processes. */
async function oneAtATime<T>(unpack: () => Promise<T>): Promise<T> {
  const lock = join(tmpdir(), 'sallyport-chromium.lock')
  for (;;) {
    try {
      mkdirSync(lock)
      break
    } catch {
      const since = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
      if (Date.now() - since > UNPACKING_MS) {
        // Whoever held it is gone, and what it left is not whole.
        rmSync(join(tmpdir(), 'chromium'), { force: true })
        rmSync(lock, { recursive: true, force: true })
      } else await sleep(50)
    }
  }
  try {
    return await unpack()
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

const UNPACKING_MS = 120_000

export interface Visit {
  readonly context: BrowserContext
  readonly page: Page
  /** Errors of the page and whatever the content security policy refused. */
  readonly complaints: string[]
}

/** A new window on the console; signed in where an operator is named. */
export async function visit(
  browser: Browser,
  fixture: Fixture,
  options: {
    readonly operator?: string
    readonly method?: 'passkey' | 'totp' | 'oidc'
    readonly theme?: 'light' | 'dark'
  } = {},
): Promise<Visit> {
  const context = await browser.newContext({
    baseURL: fixture.origin,
    viewport: { width: 1440, height: 900 },
    colorScheme: options.theme ?? 'light',
    reducedMotion: 'reduce',
  })
  if (options.operator !== undefined) {
    await context.addCookies([
      {
        name: 'sp_session',
        value: fixture.session(options.operator, options.method),
        url: fixture.origin,
        httpOnly: true,
        sameSite: 'Strict',
      },
    ])
  }
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      complaints.push(message.text())
    }
  })
  return { context, page, complaints }
}

/** A passkey in software, attached to the page: resident key, user verified. */
export async function virtualPasskey({ context, page }: Visit): Promise<void> {
  const session = await context.newCDPSession(page)
  await session.send('WebAuthn.enable')
  await session.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
}

/** Waits until the keyboard is where it should be: a dialog that opens or closes moves it a moment later. */
export async function focused(page: Page, wanted: Locator): Promise<void> {
  await wanted.and(page.locator(':focus')).waitFor()
}
